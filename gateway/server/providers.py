"""From what is configured to the providers that are served, also where others are served already."""

from collections.abc import Mapping

from gateway.callbacks.auth import AccessRule, CallbackAuthenticator
from gateway.callbacks.routing import CallbackProvider, Routes, routes_of
from gateway.config import CallbackSettings, ProviderSettings
from gateway.masking.by_value import KnownSecrets
from gateway.masking.mask import Mask
from gateway.outbound.admission import AdmissionControl
from gateway.outbound.client import Endpoint, ProviderClient
from gateway.server.dialects import ProviderBinding
from gateway.sessions.provider import Provider
from gateway.sessions.provider_switch import EnabledState


def provider_of(dialect: ProviderBinding, secrets: KnownSecrets, switch: EnabledState) -> Provider:
    """A provider that nobody has called yet."""
    settings = dialect.settings
    return Provider(
        name=settings.name,
        adapter=dialect.adapter,
        account=dialect.account,
        client=ProviderClient(_endpoint(settings)),
        mask=Mask(dialect.adapter.masked, secrets),
        admission=AdmissionControl(settings.name, settings.limits, settings.retry, settings.breaker),
        enabled_state=switch,
    )


def rebuild_provider(
    provider: Provider, before: ProviderBinding, dialect: ProviderBinding, secrets: KnownSecrets
) -> Provider:
    """A provider as it is configured from here on: the very same where nothing of it has changed.

    Its health and its switch stay; so do its connections where it is reached as before, and what its breaker and its
    queue know where it is the same server. The gate's limits are not touched.
    """
    settings = dialect.settings
    if settings == before.settings:
        return provider
    same_way = _endpoint(settings) == _endpoint(before.settings)
    same_server = settings.base_url == before.settings.base_url
    return Provider(
        name=settings.name,
        adapter=dialect.adapter,
        account=dialect.account,
        client=provider.client if same_way else ProviderClient(_endpoint(settings)),
        mask=Mask(dialect.adapter.masked, secrets),
        admission=provider.admission
        if same_server
        else AdmissionControl(settings.name, settings.limits, settings.retry, settings.breaker),
        health=provider.health,
        enabled_state=provider.enabled_state,
    )


def _endpoint(settings: ProviderSettings) -> Endpoint:
    return Endpoint(
        provider=settings.name,
        base_url=settings.base_url,
        allow_private_addresses=settings.allow_private_addresses,
        connect_timeout_s=settings.limits.connect_timeout_s,
        connections=settings.limits.max_concurrent_calls,
    )


def callback_routes(providers: Mapping[str, Provider]) -> Routes:
    """What providers may call. Raises what an adapter raises that cannot even say TRY_AGAIN."""
    return routes_of(
        CallbackProvider(provider.adapter, provider.account, provider.mask) for provider in providers.values()
    )


def callback_guard(served: Mapping[str, ProviderBinding], settings: CallbackSettings) -> CallbackAuthenticator:
    """Who may call. Raises ValueError for an empty key."""
    doors = {
        name: AccessRule(dialect.settings.callback_keys, dialect.settings.callback_sources)
        for name, dialect in served.items()
    }
    return CallbackAuthenticator(doors, settings.trusted_proxies)
