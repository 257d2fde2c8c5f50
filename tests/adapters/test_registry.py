"""Adapters are found in the package or by entry point, and a broken one is an error only where it is loaded."""

import os
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import adapters
from adapters import registry
from adapters.conformance import checks_of
from adapters.registry import AdapterAmbiguous, AdapterBroken, AdapterNotFound
from tests.adapters import example

EXAMPLE = Path(example.__file__).parent


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path; modules that a test imports are removed again."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = dict(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


@pytest.fixture
def parent(place: Path) -> ModuleType:
    """An empty package for adapters."""
    folder = place / "parent"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    return import_module("parent")


def put(parent: ModuleType, name: str, text: str) -> None:
    """A package inside the parent, with this text."""
    folder = Path(parent.__path__[0]) / name
    folder.mkdir()
    (folder / "__init__.py").write_text(text)


def declare(place: Path, distribution: str, *points: str) -> None:
    """A distribution as an installer leaves it, with these entry points."""
    info = place / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join((f"[{registry.GROUP}]", *points, "")))


def good(name: str) -> str:
    """The source of a package with a correct adapter of this name."""
    return (
        "from dataclasses import replace\n"
        "from tests.adapters.example import ADAPTER as EXAMPLE\n"
        f"ADAPTER = replace(EXAMPLE, name={name!r})\n"
    )


def test_finds_the_packages_in_adapters() -> None:
    """Every adapter of the repository loads under its name, with its simulator."""
    found = registry.find()
    for name in found.names():
        assert found.load(name).name == name
        assert found.simulator(name).required
        assert found.package(name) == f"adapters.{name}"


def test_a_directory_dropped_in_is_an_adapter(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is added to `adapters` is found, loads and conforms, without another change."""
    monkeypatch.setattr(adapters, "__path__", [*adapters.__path__, str(place)])
    before = registry.find().names()
    shutil.copytree(EXAMPLE, place / "example", ignore=shutil.ignore_patterns("__pycache__"))
    found = registry.find()
    assert set(found.names()) == {*before, "example"}
    assert found.package("example") == "adapters.example"
    assert found.load("example").display_name == example.ADAPTER.display_name
    assert found.simulator("example").required
    for check in checks_of("adapters.example"):
        if check.name in {"adapter_is_well_formed", "sources_are_pure", "requests_are_exact"}:
            check.run()


def test_only_packages_that_bind_adapter_are_adapters(parent: ModuleType) -> None:
    """Only a package that binds ADAPTER, in any way, is an adapter; a module and a plain folder are not."""
    put(parent, "family", "def ADAPTER_of(): ...\nif True:\n    OTHER = 1\n")
    put(parent, "imported", "from tests.adapters.example import ADAPTER\n")
    put(parent, "renamed", "from tests.adapters.example import ADAPTER as OTHER\n")
    put(parent, "annotated", "ADAPTER: object = None\n")
    put(parent, "assigned", good("assigned"))
    folder = Path(parent.__path__[0])
    (folder / "module.py").write_text("ADAPTER = None\n")
    (folder / "plain").mkdir()
    assert _names_in(parent) == ("annotated", "assigned", "imported")


def _names_in(parent: ModuleType) -> tuple[str, ...]:
    """The names found inside the parent."""
    found = registry.find(parent)
    return tuple(name for name in found.names() if found.package(name).startswith(parent.__name__))


def test_finding_imports_nothing(parent: ModuleType) -> None:
    """Finding does not run a package, so one that raises when imported is found too."""
    put(parent, "failing", "raise SystemExit('imported')\nADAPTER = None\n")
    assert _names_in(parent) == ("failing",)
    assert "parent.failing" not in sys.modules


def test_a_directory_that_was_just_added_is_found(parent: ModuleType) -> None:
    """A package that is added after the first search is found, though the folder's mtime is the same."""
    folder = Path(parent.__path__[0])
    put(parent, "sound", good("sound"))
    assert registry.find(parent).load("sound").name == "sound"
    before = folder.stat()
    put(parent, "late", good("late"))
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert registry.find(parent).load("late").name == "late"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import no_such_module\nADAPTER = None\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("ADAPTER = 1 / 0\n", "ZeroDivisionError"),
        ("ADAPTER = (\n", "SyntaxError"),
        ("ADAPTER = None\n", "ADAPTER of parent.broken must be an Adapter, and is missing"),
        ("ADAPTER = 'broken'\n", "must be an Adapter, and is of type str"),
        (good("well"), "parent.broken calls its adapter 'well'"),
    ],
)
def test_a_broken_adapter_fails_only_when_it_is_loaded(parent: ModuleType, text: str, cause: str) -> None:
    """A broken adapter is found, loading it raises the reason, and other adapters load."""
    put(parent, "broken", text)
    put(parent, "sound", good("sound"))
    found = registry.find(parent)
    assert {"broken", "sound"} <= set(found.names())
    assert found.load("sound").name == "sound"
    with pytest.raises(AdapterBroken) as broken:
        found.load("broken")
    assert "'broken'" in str(broken.value)
    assert cause in str(broken.value)


def test_an_unknown_name_lists_the_known_ones(parent: ModuleType) -> None:
    """An unknown name raises an error with the known names."""
    put(parent, "sound", good("sound"))
    found = registry.find(parent)
    for ask in (found.load, found.simulator, found.package):
        with pytest.raises(AdapterNotFound, match=r"no adapter 'sond'.*sound") as missing:
            ask("sond")
        assert missing.value.known == found.names()


def test_a_missing_simulator_is_an_error(parent: ModuleType) -> None:
    """An adapter without a simulator loads, and only asking for the simulator fails."""
    put(parent, "sound", good("sound"))
    found = registry.find(parent)
    assert found.load("sound").name == "sound"
    with pytest.raises(AdapterBroken, match=r"parent\.sound\.simulator"):
        found.simulator("sound")


@pytest.mark.parametrize("value", ["acme_adapter", "acme_adapter:ADAPTER", "acme_adapter:OURS"])
def test_a_third_party_declares_an_adapter(place: Path, parent: ModuleType, value: str) -> None:
    """An installed package's entry point is an adapter like any other, its value naming package or package:value."""
    folder = place / "acme_adapter"
    folder.mkdir()
    (folder / "__init__.py").write_text(good("acme") + "OURS = ADAPTER\n")
    (folder / "simulator.py").write_text("from tests.adapters.example.simulator import SIMULATOR\n")
    declare(place, "acme", f"acme = {value}")
    found = registry.find(parent)
    assert found.package("acme") == "acme_adapter"
    assert found.load("acme").name == "acme"
    assert found.simulator("acme").required


def test_a_third_party_that_does_not_load(place: Path, parent: ModuleType) -> None:
    """A declared package that is not installed is an error only where it is loaded."""
    declare(place, "acme", "acme = acme_that_is_gone")
    found = registry.find(parent)
    assert "acme" in found.names()
    with pytest.raises(AdapterBroken, match="acme_that_is_gone"):
        found.load("acme")


def test_two_packages_with_one_name_are_an_error(place: Path, parent: ModuleType) -> None:
    """Two packages with one name are an error that names both."""
    put(parent, "sound", good("sound"))
    declare(place, "acme", "sound = acme_adapter")
    found = registry.find(parent)
    for ask in (found.load, found.simulator, found.package):
        with pytest.raises(AdapterAmbiguous, match=r"parent\.sound and acme_adapter") as both:
            ask("sound")
        assert both.value.packages == ("parent.sound", "acme_adapter")


def test_a_declaration_seen_twice_is_one(place: Path, parent: ModuleType) -> None:
    """A package that is declared twice, or is in `adapters` too, is one adapter."""
    put(parent, "sound", good("sound"))
    declare(place, "one", "sound = parent.sound")
    declare(place, "two", "sound = parent.sound:ADAPTER")
    assert registry.find(parent).load("sound").name == "sound"
