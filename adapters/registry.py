"""Finds adapters: the packages beside this module, and others by the entry point group `session_gateway.adapters`.

Finding reads names and imports nothing, so that an adapter that does not load harms only whoever loads it. A third
party declares its adapter in its own pyproject.toml, the entry point's value naming the package:

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
    """Base of what the registry raises; each message names the adapter and what to do."""


class AdapterNotFound(RegistryError):
    """Nobody offers an adapter of this name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"There is no adapter {name!r}. Known are: {', '.join(known) or 'none'}. "
            f"Name one of these, or install the package that offers it under the entry point group {GROUP}."
        )
        self.name = name
        self.known = known


class AdapterBroken(RegistryError):
    """The adapter is there and cannot be used; `cause` says why."""

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"The adapter {name!r} cannot be used: {cause}")
        self.name = name
        self.cause = cause


class AdapterAmbiguous(AdapterBroken):
    """Several packages offer an adapter of this name: neither may stand in for the other silently."""

    def __init__(self, name: str, packages: tuple[str, ...]) -> None:
        super().__init__(name, f"{' and '.join(packages)} both offer it. Uninstall or rename all but one.")
        self.packages = packages


@dataclass(frozen=True, slots=True)
class _Offer:
    """Where an adapter is to be found: a package and the name of its value."""

    package: str
    attribute: str = "ADAPTER"


@dataclass(frozen=True, slots=True)
class Registry:
    """The adapters that were there when `find` looked. Nothing of them is imported before it is asked for."""

    _offers: Mapping[str, tuple[_Offer, ...]]

    def names(self) -> tuple[str, ...]:
        """Every adapter on offer, sorted, whether or not it loads."""
        return tuple(sorted(self._offers))

    def package(self, name: str) -> str:
        """The package that holds the adapter. Raises AdapterNotFound and AdapterAmbiguous."""
        return self._offer(name).package

    def load(self, name: str) -> Adapter[Any]:
        """The adapter itself. Raises AdapterNotFound and AdapterBroken."""
        offer = self._offer(name)
        adapter = _value(name, offer.package, offer.attribute, Adapter)
        if adapter.name != name:
            raise AdapterBroken(
                name,
                f"{offer.package} calls its adapter {adapter.name!r}. "
                "Make the name of ADAPTER and the name it is offered under the same.",
            )
        return adapter

    def simulator(self, name: str) -> "Simulator[Any]":
        """The provider's side of the dialect, from `<package>.simulator`. Raises AdapterNotFound and AdapterBroken."""
        from adapters.simulation import Simulator  # noqa: PLC0415 - a gateway simulates nothing

        return _value(name, f"{self.package(name)}.simulator", "SIMULATOR", Simulator)

    def _offer(self, name: str) -> _Offer:
        offers = self._offers.get(name)
        if offers is None:
            raise AdapterNotFound(name, self.names())
        if len(offers) > 1:
            raise AdapterAmbiguous(name, tuple(offer.package for offer in offers))
        return offers[0]


def find(beside: ModuleType = adapters) -> Registry:
    """Look for adapters: packages inside `beside` whose top level binds ADAPTER, and entry points of other packages.

    Raises nothing on account of an adapter that is broken: whoever loads it is told.
    """
    importlib.invalidate_caches()  # a directory dropped in a moment ago must be seen
    offers: dict[str, tuple[_Offer, ...]] = {}
    for name, offer in (*_beside(beside), *_declared()):
        if offer not in offers.get(name, ()):  # a distribution that is installed twice is still one
            offers[name] = (*offers.get(name, ()), offer)
    return Registry(MappingProxyType(offers))


def _beside(parent: ModuleType) -> Iterator[tuple[str, _Offer]]:
    for module in pkgutil.iter_modules(parent.__path__):
        package = f"{parent.__name__}.{module.name}"
        if module.ispkg and _binds_adapter(package):
            yield module.name, _Offer(package)


def _declared() -> Iterator[tuple[str, _Offer]]:
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        package, _, attribute = point.value.partition(":")
        yield point.name, _Offer(package.strip(), attribute.strip() or "ADAPTER")


def _binds_adapter(package: str) -> bool:
    """Whether the package's own text assigns or imports ADAPTER; True where it cannot be read, so that `load` tells."""
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
        problem = f"importing {module} failed with {type(cause).__name__}: {cause}. Mend or uninstall that package."
        raise AdapterBroken(name, problem) from cause
    if not isinstance(value, kind):
        problem = f"{attribute} of {module} must be an {kind.__name__}, and is {_described(value)}."
        raise AdapterBroken(name, problem)
    return value


def _described(value: object) -> str:
    return "missing" if value is None else f"of type {type(value).__name__}"
