"""From configured providers to served ones, at the start and at a reload."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from adapters.contract import Account, Adapter
from adapters.registry import Registry, RegistryError, find
from gateway.callbacks.auth import AccessRule, CallbackAuthenticator
from gateway.callbacks.routing import CallbackProvider, Routes, routes_of
from gateway.config import (
    CallbackSettings,
    ConfigInvalid,
    Problem,
    ProviderSettings,
    Settings,
    adapter_settings,
)
from gateway.masking.by_value import KnownSecrets
from gateway.masking.mask import Mask
from gateway.outbound.admission import AdmissionControl
from gateway.outbound.client import Endpoint, ProviderClient
from gateway.sessions.provider import Provider
from gateway.sessions.provider_switch import EnabledState
from gateway.store.ceilings import Ceiling

if TYPE_CHECKING:  # a gateway loads no simulator
    from adapters.simulation import Simulator


@dataclass(frozen=True, slots=True)
class ProviderBinding:
    """A provider's settings, its adapter, and its account in the adapter's own type."""

    settings: ProviderSettings
    adapter: Adapter[Any]
    account: Account[Any]


def bind_providers(settings: Settings, registry: Registry | None = None) -> Mapping[str, ProviderBinding]:
    """Bind each provider that is not retired to its adapter. Raises ConfigInvalid with all problems."""
    registry = registry or find()
    bindings: dict[str, ProviderBinding] = {}
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
            bindings[name] = ProviderBinding(provider, adapter, account)
    if problems:
        raise ConfigInvalid(tuple(problems))
    return MappingProxyType(bindings)


def simulated(settings: Settings, name: str, registry: Registry | None = None) -> tuple["Simulator[Any]", Account[Any]]:
    """The simulator of a configured provider, and the account to simulate. Raises ConfigInvalid."""
    registry = registry or find()
    if name not in settings.providers or settings.providers[name].retired:
        known = ", ".join(sorted(settings.providers)) or "none"
        raise ConfigInvalid((Problem(f"providers.{name}", f"is not configured; configured are: {known}"),))
    binding = bind_providers(settings, registry)[name]
    try:
        return registry.simulator(binding.adapter.name), binding.account
    except RegistryError as error:
        raise ConfigInvalid((Problem(f"providers.{name}.adapter", str(error)),)) from None


def create_provider(binding: ProviderBinding, secrets: KnownSecrets, enabled_state: EnabledState) -> Provider:
    """A provider with its own client, admission control and health."""
    settings = binding.settings
    return Provider(
        name=settings.name,
        adapter=binding.adapter,
        account=binding.account,
        client=ProviderClient(_endpoint(settings)),
        mask=Mask(binding.adapter.masked, secrets),
        admission=_admission(settings),
        enabled_state=enabled_state,
        ceilings=_ceilings(settings),
    )


def rebuild_provider(
    provider: Provider, before: ProviderBinding, after: ProviderBinding, secrets: KnownSecrets
) -> Provider:
    """The provider under its new settings; the same object where its settings are unchanged.

    Its health and its enabled state are kept. Its connections are kept where its endpoint is unchanged, its admission
    control (queue, circuit breaker) where its base URL is: the caller then sets the new limits.
    """
    settings = after.settings
    if settings == before.settings:
        return provider
    same_endpoint = _endpoint(settings) == _endpoint(before.settings)
    same_server = settings.base_url == before.settings.base_url
    return Provider(
        name=settings.name,
        adapter=after.adapter,
        account=after.account,
        client=provider.client if same_endpoint else ProviderClient(_endpoint(settings)),
        mask=Mask(after.adapter.masked, secrets),
        admission=provider.admission if same_server else _admission(settings),
        health=provider.health,
        enabled_state=provider.enabled_state,
        ceilings=_ceilings(settings),
    )


def _ceilings(settings: ProviderSettings) -> Mapping[str, Ceiling]:
    currencies = settings.max_amount.keys() | settings.max_amount_per_h.keys()
    return {
        currency: Ceiling(settings.max_amount.get(currency), settings.max_amount_per_h.get(currency))
        for currency in currencies
    }


def _admission(settings: ProviderSettings) -> AdmissionControl:
    return AdmissionControl(settings.name, settings.limits, settings.retry, settings.breaker)


def _endpoint(settings: ProviderSettings) -> Endpoint:
    return Endpoint(
        provider=settings.name,
        base_url=settings.base_url,
        allow_private_addresses=settings.allow_private_addresses,
        connect_timeout_s=settings.limits.connect_timeout_s,
        connections=settings.limits.max_concurrent_calls,
    )


def callback_routes(providers: Mapping[str, Provider]) -> Routes:
    """The callbacks that providers may send. Raises what an adapter raises that cannot encode TRY_AGAIN."""
    return routes_of(
        CallbackProvider(provider.adapter, provider.account, provider.mask, provider.ceilings)
        for provider in providers.values()
    )


def callback_authenticator(
    bindings: Mapping[str, ProviderBinding], settings: CallbackSettings
) -> CallbackAuthenticator:
    """The check of callback keys and source addresses. Raises ValueError for an empty key."""
    rules = {
        name: AccessRule(binding.settings.callback_keys, binding.settings.callback_sources)
        for name, binding in bindings.items()
    }
    return CallbackAuthenticator(rules, settings.trusted_proxies)
