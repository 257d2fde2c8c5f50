"""The gRPC server around the services: the list of providers, health, reflection, readiness, a stop, and its port."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast
from unittest.mock import create_autospec

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from adapters.registry import find
from gateway.config import GrpcServerKind, load
from gateway.rpc.interceptor import RpcInterceptor
from gateway.server.gateway import CannotStart, Gateway
from gateway.v1 import session_service_pb2 as pb
from tests.support.buf import buf_curl
from tests.support.gateway import Running, configuration, family_table, locked, provider_table, running_gateway
from tests.support.provider import ScriptedProvider, answering, scripted_provider

SERVING = health_pb2.HealthCheckResponse.SERVING
SERVICES = ("Session", "Wallet", "Reconciliation", "Transaction", "Provider")
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


@pytest.fixture
def server() -> GrpcServerKind:
    return GrpcServerKind.GRPCIO


both = pytest.mark.parametrize("server", list(GrpcServerKind))
"""For tests of what the gRPC server itself does."""


@pytest.fixture
async def gateway(tmp_path: Path, provider: ScriptedProvider, server: GrpcServerKind) -> AsyncIterator[Running]:
    sections = (
        family_table("lucky-brand-2", "luckymonaco", provider.base_url),
        family_table("kyren", "kyren", provider.base_url),
        provider_table("eliab", "eliab", provider.base_url),
    )
    async with running_gateway(tmp_path, *sections, grpc=f'server = "{server}"') as gateway:
        yield gateway


async def test_providers_are_listed_with_their_capabilities(gateway: Running) -> None:
    """Every configured provider is listed by its name, with its adapter's capabilities."""
    listed = await gateway.sessions.ListProviders(pb.ListProvidersRequest())
    eliab, kyren, lucky = listed.providers
    assert (eliab.name, kyren.name, lucky.name) == ("eliab", "kyren", "lucky-brand-2")
    assert lucky.adapter == "luckymonaco"
    assert lucky.capabilities.close_scope == pb.CLOSE_SCOPE_USER
    assert list(lucky.capabilities.optional_fields) == ["clear_history", "game_id"]
    assert list(lucky.capabilities.callbacks) == ["V4/Result", "V4/SessionExpired"]
    assert list(kyren.capabilities.optional_fields) == ["game_id"]
    assert kyren.capabilities.warning
    assert eliab.capabilities.close_scope == pb.CLOSE_SCOPE_SESSION
    assert "session_id" in eliab.capabilities.required_fields
    assert not eliab.capabilities.callbacks
    assert lucky.health.state == pb.HEALTH_STATE_UNTRIED


@both
async def test_health_follows_live_traffic(gateway: Running, provider: ScriptedProvider) -> None:
    """A provider's last call decides its health in gRPC health and in ListProviders, and does not affect others."""
    health = health_pb2_grpc.HealthStub(gateway.channel)

    async def states() -> tuple[int, int, int]:
        answers = [await health.Check(health_pb2.HealthCheckRequest(service=name)) for name in ("", "kyren", "eliab")]
        overall, kyren, eliab = (answer.status for answer in answers)
        return overall, kyren, eliab

    async def listed() -> pb.Provider:
        providers = (await gateway.sessions.ListProviders(pb.ListProvidersRequest())).providers
        (kyren,) = (one for one in providers if one.name == "kyren")
        return kyren

    assert await states() == (SERVING, SERVING, SERVING)
    provider.behaviour = answering(500)
    with pytest.raises(grpc.aio.AioRpcError):
        await gateway.sessions.CloseSession(pb.CloseSessionRequest(provider="kyren", user_id="u"))
    assert await states() == (SERVING, NOT_SERVING, SERVING)
    assert (await listed()).health.state == pb.HEALTH_STATE_FAILING
    assert (await listed()).health.last_failure == "PROVIDER_FAILED"
    provider.behaviour = answering()
    await gateway.sessions.CloseSession(pb.CloseSessionRequest(provider="kyren", user_id="u"))
    assert await states() == (SERVING, SERVING, SERVING)
    assert (await listed()).health.state == pb.HEALTH_STATE_ANSWERING


@both
@pytest.mark.parametrize("service", SERVICES)
async def test_each_service_has_its_health(gateway: Running, service: str) -> None:
    """gRPC health knows each service by its full name."""
    request = health_pb2.HealthCheckRequest(service=f"gateway.v1.{service}Service")
    assert (await health_pb2_grpc.HealthStub(gateway.channel).Check(request)).status == SERVING


@both
@pytest.mark.usefixtures("long_stop_grace")
async def test_a_health_watch_does_not_delay_a_stop(gateway: Running) -> None:
    """A stop ends watches of health without waiting for them."""
    watch = health_pb2_grpc.HealthStub(gateway.channel).Watch(health_pb2.HealthCheckRequest(service=""))
    assert (await watch.read()).status == SERVING
    async with asyncio.timeout(30):
        await gateway.gateway.stop()


@both
@pytest.mark.usefixtures("long_stop_grace")
async def test_reflection_and_silent_connections_do_not_delay_a_stop(gateway: Running) -> None:
    """A stop ends them without waiting for them."""
    stub = reflection_pb2_grpc.ServerReflectionStub(gateway.channel)
    stream = stub.ServerReflectionInfo()
    await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    assert (await stream.read()).list_services_response.service
    host, port = gateway.listening.grpc.split(":")
    _, silent = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(30):
        await gateway.gateway.stop()
    silent.close()


@both
@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_both_versions_of_reflection_list_the_services(gateway: Running, version: str) -> None:
    """Reflection v1 and v1alpha list the same services."""
    call: Any = gateway.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    stream = call(timeout=30)
    await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = (await stream.read()).list_services_response.service
    stream.cancel()
    ours = {f"gateway.v1.{name}Service" for name in SERVICES}
    assert {one.name for one in listed} == ours | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@both
async def test_reflection_serves_a_call_without_the_protos(gateway: Running) -> None:
    """An operator with `buf curl` and no proto file can list methods and call one."""
    methods = await buf_curl(f"http://{gateway.listening.grpc}", "--list-methods")
    assert "gateway.v1.SessionService/CloseSession" in methods.out
    assert "gateway.v1.WalletService/ApplyResult" in methods.out
    assert "gateway.v1.ReconciliationService/RedeliverCallback" in methods.out
    assert "gateway.v1.TransactionService/GetTransaction" in methods.out
    answer = await buf_curl(
        f"http://{gateway.listening.grpc}/gateway.v1.SessionService/CloseSession",
        "--data",
        json.dumps({"provider": "kyren", "user_id": "u"}),
    )
    assert json.loads(answer.out)["outcome"] == "OUTCOME_CLOSED"


@both
async def test_a_port_in_use_is_rejected(gateway: Running, tmp_path: Path) -> None:
    """A second gateway on the same port does not start."""
    other = tmp_path / "other"
    other.mkdir()
    path = configuration(other)
    path.write_text(path.read_text().replace('"127.0.0.1:0"', f'"{gateway.listening.grpc}"', 1))
    with pytest.raises(CannotStart):
        await Gateway(load(path, {}), find()).start()


async def test_a_gateway_that_cannot_write_is_not_ready(gateway: Running) -> None:
    """While the store cannot be written, /readyz is 503 and its text says so."""
    with locked(gateway.database):
        async with gateway.http.get(f"http://{gateway.listening.admin}/readyz") as response:
            assert response.status == 503
            assert "database" in await response.text()
    async with gateway.http.get(f"http://{gateway.listening.admin}/readyz") as response:
        assert response.status == 200


async def test_a_serving_gateway_is_live_and_ready(gateway: Running) -> None:
    """/healthz, /readyz and /metrics are 200 while the gateway serves."""
    for path, expected in (("healthz", "ok"), ("readyz", "ready"), ("metrics", "gateway_")):
        async with gateway.http.get(f"http://{gateway.listening.admin}/{path}") as response:
            assert response.status == 200
            assert expected in await response.text()


async def test_it_is_idle_only_when_no_call_is_in_flight() -> None:
    """`idle` returns at once without calls, and otherwise when the last call has ended."""
    interceptor, started, may_end = RpcInterceptor(), asyncio.Event(), asyncio.Event()

    async def behavior(request: bytes, context: Any) -> bytes:
        started.set()
        await may_end.wait()
        return request

    handler = interceptor.wrap("/a.Service/Method", grpc.unary_unary_rpc_method_handler(behavior, bytes, bytes))
    await interceptor.idle()
    context = create_autospec(grpc.aio.ServicerContext, instance=True)
    context.peer.return_value = "ipv4:127.0.0.1:1"
    call = asyncio.ensure_future(cast("Any", handler).unary_unary(b"", context))
    await started.wait()
    idle = asyncio.ensure_future(interceptor.idle())
    await asyncio.sleep(0)
    assert (idle.done(), interceptor.in_flight) == (False, 1)
    may_end.set()
    await asyncio.gather(call, idle)
    assert interceptor.in_flight == 0
