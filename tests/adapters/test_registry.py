"""Adapters are found where they lie or are declared, and one that is broken harms only who loads it."""

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
from tests.adapters import madeup

MADEUP = Path(madeup.__file__).parent


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that Python imports from; what was imported meanwhile is forgotten."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = dict(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


@pytest.fixture
def roost(place: Path) -> ModuleType:
    """An empty package in which adapters may be put."""
    folder = place / "roost"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    return import_module("roost")


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
    """The text of a package with a sound adapter of this name."""
    return (
        "from dataclasses import replace\n"
        "from tests.adapters.madeup import ADAPTER as MADEUP\n"
        f"ADAPTER = replace(MADEUP, name={name!r})\n"
    )


def test_finds_what_lies_beside_it() -> None:
    """Every name that is found in the repository loads, under that name, with its simulator."""
    found = registry.find()
    for name in found.names():
        assert found.load(name).name == name
        assert found.simulator(name).required
        assert found.package(name) == f"adapters.{name}"


def test_a_directory_dropped_in_is_an_adapter(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding an adapter touches one directory and nothing else; dropped in, it conforms."""
    monkeypatch.setattr(adapters, "__path__", [*adapters.__path__, str(place)])
    before = registry.find().names()
    shutil.copytree(MADEUP, place / "madeup", ignore=shutil.ignore_patterns("__pycache__"))
    found = registry.find()
    assert set(found.names()) == {*before, "madeup"}
    assert found.package("madeup") == "adapters.madeup"
    assert found.load("madeup").display_name == madeup.ADAPTER.display_name
    assert found.simulator("madeup").required
    for check in checks_of("adapters.madeup"):
        if check.name in {"adapter_is_well_formed", "sources_are_pure", "requests_are_exact"}:
            check.run()


def test_only_packages_that_bind_adapter_are_adapters(roost: ModuleType) -> None:
    """A family's package, a module and a plain folder are no adapters; however ADAPTER is bound, it counts."""
    put(roost, "family", "def ADAPTER_of(): ...\nif True:\n    OTHER = 1\n")
    put(roost, "imported", "from tests.adapters.madeup import ADAPTER\n")
    put(roost, "renamed", "from tests.adapters.madeup import ADAPTER as OTHER\n")
    put(roost, "annotated", "ADAPTER: object = None\n")
    put(roost, "assigned", good("assigned"))
    folder = Path(roost.__path__[0])
    (folder / "module.py").write_text("ADAPTER = None\n")
    (folder / "plain").mkdir()
    assert _beside(roost) == ("annotated", "assigned", "imported")


def _beside(parent: ModuleType) -> tuple[str, ...]:
    """The names found inside the parent."""
    found = registry.find(parent)
    return tuple(name for name in found.names() if found.package(name).startswith(parent.__name__))


def test_finding_imports_nothing(roost: ModuleType) -> None:
    """To find is to read names: a package that would fail, or do something, is not run."""
    put(roost, "grim", "raise SystemExit('imported')\nADAPTER = None\n")
    assert _beside(roost) == ("grim",)
    assert "roost.grim" not in sys.modules


def test_a_directory_dropped_in_a_moment_ago_is_seen(roost: ModuleType) -> None:
    """A package that comes after a first look is found and loads, though the folder's time has not moved on."""
    folder = Path(roost.__path__[0])
    put(roost, "sound", good("sound"))
    assert registry.find(roost).load("sound").name == "sound"
    before = folder.stat()
    put(roost, "late", good("late"))
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert registry.find(roost).load("late").name == "late"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import no_such_module\nADAPTER = None\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("ADAPTER = 1 / 0\n", "ZeroDivisionError"),
        ("ADAPTER = (\n", "SyntaxError"),
        ("ADAPTER = None\n", "ADAPTER of roost.sick must be an Adapter, and is missing"),
        ("ADAPTER = 'sick'\n", "must be an Adapter, and is of type str"),
        (good("well"), "roost.sick calls its adapter 'well'"),
    ],
)
def test_a_broken_adapter_harms_only_who_loads_it(roost: ModuleType, text: str, cause: str) -> None:
    """A broken adapter is found and named; loading it says why; its neighbour loads."""
    put(roost, "sick", text)
    put(roost, "sound", good("sound"))
    found = registry.find(roost)
    assert {"sick", "sound"} <= set(found.names())
    assert found.load("sound").name == "sound"
    with pytest.raises(AdapterBroken) as broken:
        found.load("sick")
    assert "'sick'" in str(broken.value)
    assert cause in str(broken.value)


def test_an_unknown_name_lists_the_known_ones(roost: ModuleType) -> None:
    """A name that nobody offers is refused with the names that are on offer."""
    put(roost, "sound", good("sound"))
    found = registry.find(roost)
    for ask in (found.load, found.simulator, found.package):
        with pytest.raises(AdapterNotFound, match=r"no adapter 'sond'.*sound") as missing:
            ask("sond")
        assert missing.value.known == found.names()


def test_a_missing_simulator_is_told(roost: ModuleType) -> None:
    """An adapter without a simulator loads, and only asking for the simulator fails."""
    put(roost, "sound", good("sound"))
    found = registry.find(roost)
    assert found.load("sound").name == "sound"
    with pytest.raises(AdapterBroken, match=r"roost\.sound\.simulator"):
        found.simulator("sound")


@pytest.mark.parametrize("value", ["acme_adapter", "acme_adapter:ADAPTER", "acme_adapter:OURS"])
def test_a_third_party_declares_an_adapter(place: Path, roost: ModuleType, value: str) -> None:
    """An installed package's entry point is an adapter like any other, its value naming package or package:value."""
    folder = place / "acme_adapter"
    folder.mkdir()
    (folder / "__init__.py").write_text(good("acme") + "OURS = ADAPTER\n")
    (folder / "simulator.py").write_text("from tests.adapters.madeup.simulator import SIMULATOR\n")
    declare(place, "acme", f"acme = {value}")
    found = registry.find(roost)
    assert found.package("acme") == "acme_adapter"
    assert found.load("acme").name == "acme"
    assert found.simulator("acme").required


def test_a_third_party_that_does_not_load(place: Path, roost: ModuleType) -> None:
    """A declared package that is not there is fatal only to who loads it."""
    declare(place, "acme", "acme = acme_that_is_gone")
    found = registry.find(roost)
    assert "acme" in found.names()
    with pytest.raises(AdapterBroken, match="acme_that_is_gone"):
        found.load("acme")


def test_no_third_party_shadows_a_name(place: Path, roost: ModuleType) -> None:
    """Two packages under one name are told apart by nobody: loading names both, and neither wins."""
    put(roost, "sound", good("sound"))
    declare(place, "acme", "sound = acme_adapter")
    found = registry.find(roost)
    for ask in (found.load, found.simulator, found.package):
        with pytest.raises(AdapterAmbiguous, match=r"roost\.sound and acme_adapter") as both:
            ask("sound")
        assert both.value.packages == ("roost.sound", "acme_adapter")


def test_a_declaration_seen_twice_is_one(place: Path, roost: ModuleType) -> None:
    """A package that is installed twice, or that declares what lies beside the registry, is no ambiguity."""
    put(roost, "sound", good("sound"))
    declare(place, "one", "sound = roost.sound")
    declare(place, "two", "sound = roost.sound:ADAPTER")
    assert registry.find(roost).load("sound").name == "sound"
