"""From configured providers to served ones, at the start and at a reload."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from adapters.contract import Account, Adapter, Result, Secret
from adapters.registry import Registry, RegistryError, find
from gateway.callbacks.auth import AccessRule, CallbackAuthenticator
from gateway.callbacks.places import PlaceLimits
from gateway.callbacks.routing import CallbackProvider, Routes, routes_of
from gateway.callbacks.server import ConnectionLimits
from gateway.callbacks.sources import NetworkSet
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
from gateway.outbound.tls import ProviderTls, read_tls
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
    tls: ProviderTls | None = None
    """As its files were when they were read."""


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
            tls = read_tls(provider.tls.ca, provider.tls.cert, provider.tls.key) if provider.tls else None
        except RegistryError as error:
            problems.append(Problem(f"providers.{name}.adapter", str(error)))
        except ConfigInvalid as invalid:
            problems.extend(invalid.problems)
        except OSError as error:  # ssl.SSLError is one
            problems.append(unusable_tls(f"providers.{name}.tls", error))
        else:
            bindings[name] = ProviderBinding(provider, adapter, account, tls)
    if problems:
        raise ConfigInvalid(tuple(problems))
    return MappingProxyType(bindings)


def unusable_tls(path: str, error: OSError) -> Problem:
    """The problem of TLS files that are not PEM, or do not belong together."""
    why = (
        "the key is of another certificate" if "MISMATCH" in str(error) else "a file is no PEM, or the key is encrypted"
    )
    return Problem(
        path, f"cannot be used: {why} ({error}); name PEM files, and the unencrypted key of that certificate"
    )


def receives_results(binding: ProviderBinding) -> bool:
    """Whether the provider can send Results here by callback."""
    callbacks = binding.adapter.callbacks.values()
    return bool(binding.settings.callback_keys) and any(callback.notification is Result for callback in callbacks)


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
        client=ProviderClient(_endpoint(binding)),
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
    if settings == before.settings and after.tls == before.tls:
        return provider
    same_endpoint = _endpoint(after) == _endpoint(before)
    same_server = settings.base_url == before.settings.base_url
    return Provider(
        name=settings.name,
        adapter=after.adapter,
        account=after.account,
        client=provider.client if same_endpoint else ProviderClient(_endpoint(after)),
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


def _endpoint(binding: ProviderBinding) -> Endpoint:
    settings = binding.settings
    return Endpoint(
        provider=settings.name,
        base_url=settings.base_url,
        allow_private_addresses=settings.allow_private_addresses,
        connect_timeout_s=settings.limits.connect_timeout_s,
        connections=settings.limits.max_concurrent_calls,
        tls=binding.tls,
    )


def callback_routes(providers: Mapping[str, Provider], bindings: Mapping[str, ProviderBinding]) -> Routes:
    """The callbacks that providers may send. Raises what an adapter raises that cannot encode TRY_AGAIN."""
    return routes_of(
        CallbackProvider(
            provider.adapter,
            provider.account,
            provider.mask,
            provider.ceilings,
            bindings[name].settings.limits.max_concurrent_callbacks,
        )
        for name, provider in providers.items()
    )


def callback_keys(bindings: Mapping[str, ProviderBinding]) -> Mapping[str, tuple[Secret, ...]]:
    """The callback keys of each provider."""
    return {name: binding.settings.callback_keys for name, binding in bindings.items()}


def connection_limits(bindings: Mapping[str, ProviderBinding], settings: CallbackSettings) -> ConnectionLimits:
    """The limits of the callback listener."""
    sources = (source for binding in bindings.values() for source in binding.settings.callback_sources)
    places = PlaceLimits(
        settings.max_connections,
        settings.max_connections_per_source,
        NetworkSet(settings.trusted_proxies),
        NetworkSet(sources),
    )
    return ConnectionLimits(places, settings.receive_timeout_s)


def callback_authenticator(
    bindings: Mapping[str, ProviderBinding], settings: CallbackSettings
) -> CallbackAuthenticator:
    """The check of callback keys and source addresses. Raises ValueError for an empty key."""
    rules = {
        name: AccessRule(binding.settings.callback_keys, binding.settings.callback_sources)
        for name, binding in bindings.items()
    }
    return CallbackAuthenticator(rules, settings.trusted_proxies)
