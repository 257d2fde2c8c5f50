"""What surrounds the services: what is configured, health, reflection, TLS, and who owns the port."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from adapters.registry import find
from gateway.config import GrpcServerKind, load
from gateway.rpc.server import RpcServer
from gateway.server.gateway import CannotStart, Gateway
from gateway.v1 import session_service_pb2 as pb
from tests.support.buf import buf_curl
from tests.support.gateway import Running, configuration, family_table, locked, provider_table, running_gateway
from tests.support.provider import ScriptedProvider, answering, hanging, scripted_provider

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
"""For a test of what the gRPC server itself does."""


@pytest.fixture
async def gateway(tmp_path: Path, provider: ScriptedProvider, server: GrpcServerKind) -> AsyncIterator[Running]:
    sections = (
        family_table("lucky-brand-2", "luckymonaco", provider.base_url),
        family_table("kyren", "kyren", provider.base_url),
        provider_table("eliab", "eliab", provider.base_url),
    )
    async with running_gateway(tmp_path, *sections, grpc=f'server = "{server}"') as gateway:
        yield gateway


async def test_providers_are_listed_with_what_they_can_do(gateway: Running) -> None:
    """Every configured provider is listed by its own name, with its adapter's capabilities."""
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
    """A provider's health is that of its last call, over gRPC health and in ListProviders; the gateway's own stays."""
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
async def test_each_service_has_a_health_of_its_own(gateway: Running, service: str) -> None:
    """A load balancer that asks for one service's health is answered by its full name."""
    request = health_pb2.HealthCheckRequest(service=f"gateway.v1.{service}Service")
    assert (await health_pb2_grpc.HealthStub(gateway.channel).Check(request)).status == SERVING


@both
async def test_an_open_health_watch_does_not_hold_up_stopping(gateway: Running) -> None:
    """A watcher of health is a stream without an end: stopping ends it."""
    watch = health_pb2_grpc.HealthStub(gateway.channel).Watch(health_pb2.HealthCheckRequest(service=""))
    assert (await watch.read()).status == SERVING
    async with asyncio.timeout(5):
        await gateway.gateway.stop()


@both
async def test_what_lingers_does_not_hold_up_stopping(gateway: Running) -> None:
    """A stream of reflection and a connection that says nothing are ended, and not waited for."""
    stub = reflection_pb2_grpc.ServerReflectionStub(gateway.channel)
    stream = stub.ServerReflectionInfo()
    await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    assert (await stream.read()).list_services_response.service
    host, port = gateway.listening.grpc.split(":")
    _, silent = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(3):
        await gateway.gateway.stop()
    silent.close()


@both
@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_the_services_by_both_of_its_versions(gateway: Running, version: str) -> None:
    """Their messages are the same, field by field."""
    call: Any = gateway.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    stream = call(timeout=5)
    await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = (await stream.read()).list_services_response.service
    stream.cancel()
    ours = {f"gateway.v1.{name}Service" for name in SERVICES}
    assert {one.name for one in listed} == ours | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


async def test_a_servicer_that_is_in_no_table_is_refused() -> None:
    """By its name, when the server is made."""
    with pytest.raises(TypeError, match="object"):
        RpcServer([object()])


@both
async def test_reflection_serves_a_call_without_the_protos(gateway: Running) -> None:
    """A person with `buf curl` and no proto file can list methods and call one."""
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
async def test_a_taken_port_is_refused(gateway: Running, tmp_path: Path) -> None:
    """A second gateway on the same port does not start, rather than take half of the calls."""
    other = tmp_path / "other"
    other.mkdir()
    path = configuration(other)
    path.write_text(path.read_text().replace('"127.0.0.1:0"', f'"{gateway.listening.grpc}"', 1))
    with pytest.raises(CannotStart):
        await Gateway(load(path, {}), find()).start()


async def test_a_gateway_that_cannot_write_is_not_ready(gateway: Running) -> None:
    """While the store takes nothing /readyz is 503 and says why; a provider's sickness does not count."""
    with locked(gateway.database):
        async with gateway.http.get(f"http://{gateway.listening.admin}/readyz") as response:
            assert response.status == 503
            assert "database" in await response.text()
    async with gateway.http.get(f"http://{gateway.listening.admin}/readyz") as response:
        assert response.status == 200


async def test_readiness_and_liveness(gateway: Running) -> None:
    """/healthz and /readyz are 200 while the gateway serves, and /metrics is an exposition."""
    for path, expected in (("healthz", "ok"), ("readyz", "ready"), ("metrics", "gateway_")):
        async with gateway.http.get(f"http://{gateway.listening.admin}/{path}") as response:
            assert response.status == 200
            assert expected in await response.text()


async def test_it_is_idle_only_when_no_call_is_under_way(gateway: Running, provider: ScriptedProvider) -> None:
    """A stop need not wait its whole grace for what is not a call, and does wait for what is."""
    calls = gateway.gateway.rpc_server._calls
    await asyncio.wait_for(calls.idle(), 1)
    asked = asyncio.Event()

    async def never(request: web.Request) -> web.StreamResponse:
        asked.set()
        return await hanging(request)

    provider.behaviour = never
    request = pb.CloseSessionRequest(provider="kyren", user_id="u")
    call = asyncio.ensure_future(gateway.sessions.CloseSession(request, timeout=5))
    await asyncio.wait_for(asked.wait(), 5)
    idle = asyncio.create_task(calls.idle())
    await asyncio.sleep(0)
    assert not idle.done()
    call.cancel()
    await asyncio.wait_for(idle, 5)
