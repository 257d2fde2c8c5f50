"""From the names in a configuration to adapters."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from adapters.contract import Account, Adapter
from adapters.registry import Registry, RegistryError, find
from gateway.config import ConfigInvalid, Problem, ProviderSettings, Settings, adapter_settings

if TYPE_CHECKING:
    from adapters.simulation import Simulator


@dataclass(frozen=True, slots=True)
class ProviderBinding:
    """A served provider's settings with the adapter that they name, checked by what the adapter demands."""

    settings: ProviderSettings
    adapter: Adapter[Any]
    account: Account[Any]


def bind_providers(settings: Settings, registry: Registry | None = None) -> Mapping[str, ProviderBinding]:
    """The providers to serve, each with its adapter. Raises ConfigInvalid with everything that does not fit."""
    registry = registry or find()
    found: dict[str, ProviderBinding] = {}
    problems: list[Problem] = []
    for name, provider in settings.providers.items():
        if provider.retired:
            continue
        try:
            adapter = registry.load(provider.adapter)
            account = Account(name, adapter_settings(provider, adapter.settings), provider.token)
        except RegistryError as error:
            problems.append(Problem(f"providers.{name}.adapter", str(error)))
        except ConfigInvalid as invalid:
            problems.extend(invalid.problems)
        else:
            found[name] = ProviderBinding(provider, adapter, account)
    if problems:
        raise ConfigInvalid(tuple(problems))
    return MappingProxyType(found)


def simulated(settings: Settings, name: str, registry: Registry | None = None) -> tuple["Simulator[Any]", Account[Any]]:
    """The provider's side of a configured provider, for an account like ours. Raises ConfigInvalid."""
    registry = registry or find()
    if name not in settings.providers or settings.providers[name].retired:
        known = ", ".join(sorted(settings.providers)) or "none"
        raise ConfigInvalid((Problem(f"providers.{name}", f"is not configured; configured are: {known}"),))
    dialect = bind_providers(settings, registry)[name]
    try:
        return registry.simulator(dialect.adapter.name), dialect.account
    except RegistryError as error:
        raise ConfigInvalid((Problem(f"providers.{name}.adapter", str(error)),)) from None
