"""Finds adapters: the packages in this directory, and others by the entry point group `session_gateway.adapters`.

Finding reads names and imports nothing, so an adapter that does not load is an error only where it is loaded. A third
party declares its adapter in its pyproject.toml, with the package as the entry point's value:

    [project.entry-points."session_gateway.adapters"]
    acme = "acme_adapter"
"""

import ast
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import adapters
from adapters.contract import Adapter

if TYPE_CHECKING:
    from adapters.simulation import Simulator

GROUP = "session_gateway.adapters"

ValueT = TypeVar("ValueT")


class RegistryError(Exception):
    """Base of the registry's errors. Each message names the adapter and what to do."""


class AdapterNotFound(RegistryError):
    """No package has an adapter of this name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"There is no adapter {name!r}. Known are: {', '.join(known) or 'none'}. "
            f"Name one of these, or install the package that declares it in the entry point group {GROUP}."
        )
        self.name = name
        self.known = known


class AdapterBroken(RegistryError):
    """The adapter is found and cannot be used; `cause` gives the reason."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"The adapter {name!r} cannot be used: {cause}")
        self.name = name
        self.cause = cause


class AdapterAmbiguous(AdapterBroken):
    """Several packages have an adapter of this name, and the registry chooses none."""

    def __init__(self, name: str, packages: tuple[str, ...]) -> None:
        super().__init__(name, f"{' and '.join(packages)} both have it. Uninstall or rename all but one.")
        self.packages = packages


@dataclass(frozen=True, slots=True)
class _Location:
    """The place of an adapter: a package and the name of its value."""

    package: str
    attribute: str = "ADAPTER"


@dataclass(frozen=True, slots=True)
class Registry:
    """The adapters that `find` found. An adapter is imported when it is loaded."""

    _locations: Mapping[str, tuple[_Location, ...]]

    def names(self) -> tuple[str, ...]:
        """The name of every adapter, sorted, whether or not it loads."""
        return tuple(sorted(self._locations))

    def package(self, name: str) -> str:
        """The package that holds the adapter. Raises AdapterNotFound and AdapterAmbiguous."""
        return self._location(name).package

    def load(self, name: str) -> Adapter[Any]:
        """The adapter itself. Raises AdapterNotFound and AdapterBroken."""
        location = self._location(name)
        adapter = _value(name, location.package, location.attribute, Adapter)
        if adapter.name != name:
            raise AdapterBroken(
                name,
                f"{location.package} calls its adapter {adapter.name!r}. "
                "Make the name of ADAPTER and the name of its package or entry point the same.",
            )
        return adapter

    def simulator(self, name: str) -> "Simulator[Any]":
        """The provider's side of the dialect, from `<package>.simulator`. Raises AdapterNotFound and AdapterBroken."""
        from adapters.simulation import Simulator  # noqa: PLC0415 - a gateway simulates nothing

        return _value(name, f"{self.package(name)}.simulator", "SIMULATOR", Simulator)

    def _location(self, name: str) -> _Location:
        found = self._locations.get(name)
        if found is None:
            raise AdapterNotFound(name, self.names())
        if len(found) > 1:
            raise AdapterAmbiguous(name, tuple(location.package for location in found))
        return found[0]


def find(parent: ModuleType = adapters) -> Registry:
    """Find adapters: packages inside `parent` whose top level binds ADAPTER, and entry points of other packages.

    Raises nothing for a broken adapter: `Registry.load` does.
    """
    importlib.invalidate_caches()  # a directory that was added a moment ago must be found
    found: dict[str, tuple[_Location, ...]] = {}
    for name, location in (*_packages_in(parent), *_entry_points()):
        if location not in found.get(name, ()):  # a distribution may be installed twice
            found[name] = (*found.get(name, ()), location)
    return Registry(MappingProxyType(found))


def _packages_in(parent: ModuleType) -> Iterator[tuple[str, _Location]]:
    for module in pkgutil.iter_modules(parent.__path__):
        package = f"{parent.__name__}.{module.name}"
        if module.ispkg and _binds_adapter(package):
            yield module.name, _Location(package)


def _entry_points() -> Iterator[tuple[str, _Location]]:
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        package, _, attribute = point.value.partition(":")
        yield point.name, _Location(package.strip(), attribute.strip() or "ADAPTER")


def _binds_adapter(package: str) -> bool:
    """Whether the package's source binds ADAPTER; True where it is unreadable, so that `load` reports the error."""
    spec = find_spec(package)
    get_source = getattr(spec.loader, "get_source", None) if spec else None
    try:
        source = get_source(package) if get_source else None
        tree = ast.parse(source) if source is not None else None
    except (ImportError, SyntaxError, ValueError):
        return True
    return tree is None or any("ADAPTER" in _bound_names(statement) for statement in tree.body)


def _bound_names(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.ImportFrom):
        return {alias.asname or alias.name for alias in statement.names}
    if isinstance(statement, ast.Assign):
        return {target.id for target in statement.targets if isinstance(target, ast.Name)}
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return {statement.target.id}
    return set()


def _value(name: str, module: str, attribute: str, kind: type[ValueT]) -> ValueT:
    """`attribute` of `module`, which must be of this kind. Raises AdapterBroken."""
    try:
        value = getattr(importlib.import_module(module), attribute, None)
    except Exception as cause:
        problem = f"importing {module} failed with {type(cause).__name__}: {cause}. Fix or uninstall that package."
        raise AdapterBroken(name, problem) from cause
    if not isinstance(value, kind):
        problem = f"{attribute} of {module} must be an {kind.__name__}, and is {_described(value)}."
        raise AdapterBroken(name, problem)
    return value


def _described(value: object) -> str:
    return "missing" if value is None else f"of type {type(value).__name__}"
