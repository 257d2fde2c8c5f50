"""Disabling and enabling providers over gRPC, and their state as callers see it."""

from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.v1 import provider_service_pb2 as pb
from gateway.v1 import session_service_pb2 as sessions
from tests.support.gateway import Running

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def switch_off(
    gateway: Running, provider: str = "lucky", by: str = "ada", why: str = "repairs"
) -> pb.DisableProviderResponse:
    """Disable a provider."""
    request = pb.DisableProviderRequest(provider=provider, on_behalf_of=by, reason=why)
    return await gateway.providers.DisableProvider(request)


async def switch_on(
    gateway: Running, provider: str = "lucky", by: str = "bob", why: str = "repaired"
) -> pb.EnableProviderResponse:
    """Enable a provider."""
    request = pb.EnableProviderRequest(provider=provider, on_behalf_of=by, reason=why)
    return await gateway.providers.EnableProvider(request)


async def history(gateway: Running, provider: str = "") -> list[pb.ProviderStateChange]:
    """Its state changes, newest first."""
    request = pb.ListProviderStateChangesRequest(provider=provider)
    return list((await gateway.providers.ListProviderStateChanges(request)).state_changes)


async def health_of(gateway: Running, provider: str = "lucky") -> sessions.ProviderHealth:
    """A provider's health in ListProviders."""
    listed = await gateway.sessions.ListProviders(sessions.ListProvidersRequest())
    (found,) = (each for each in listed.providers if each.name == provider)
    return found.health


async def is_serving(gateway: Running, provider: str = "lucky") -> bool:
    """A provider's status in the gRPC health service."""
    request = health_pb2.HealthCheckRequest(service=provider)
    answer = await health_pb2_grpc.HealthStub(gateway.channel).Check(request)
    assert answer.status in {SERVING, NOT_SERVING}
    return bool(answer.status == SERVING)
