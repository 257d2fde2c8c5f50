"""More than the gateway takes on at once is refused in words, at once; what comes after the load is served."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.config import GrpcServerKind
from gateway.rpc import server as rpc_server
from gateway.rpc.limits import RpcLimits
from gateway.rpc.server import RpcServer, TlsFiles
from gateway.v1 import session_service_pb2 as pb
from tests.gateway.rpc.harness import Scene, a_scene
from tests.support.gateway import Running, Told, told
from tests.support.provider import answering, answering_after
from tests.support.waiting import until

BUSY = (grpc.StatusCode.RESOURCE_EXHAUSTED, "GATEWAY_BUSY", "NOT_SENT", True)

FEW = "max_calls = 2\nmax_event_streams = 1\nmax_message_bytes = 16384"


@pytest.fixture(params=list(GrpcServerKind))
async def scene(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """One that takes little on at once."""
    async with a_scene(tmp_path, request.param, grpc=FEW) as scene:
        yield scene


def refused(told: Told) -> tuple[grpc.StatusCode, str, str, bool]:
    return told.code, told.reason, told.certainty, told.retry


@asynccontextmanager
async def hanging_calls(scene: Scene, count: int) -> AsyncIterator[None]:
    """So many closes wait at the provider; they are answered in the end."""
    release = asyncio.Event()
    scene.provider.behaviour = answering_after(release)
    requests = [pb.CloseSessionRequest(provider="lucky", user_id=f"hung-{number}") for number in range(count)]
    calls = [asyncio.ensure_future(scene.gateway.sessions.CloseSession(one, timeout=30)) for one in requests]
    try:
        await until(lambda: len(scene.provider.received) == count)
        yield
    finally:
        release.set()
        answers = await asyncio.gather(*calls)
        scene.provider.received.clear()
    assert [answer.outcome for answer in answers] == [pb.OUTCOME_CLOSED] * count
    scene.provider.behaviour = answering()


async def watching(gateway: Running) -> grpc.aio.UnaryStreamCall[Any, Any]:
    """A stream of events that is open."""
    stream = gateway.sessions.WatchEvents(pb.WatchEventsRequest())
    await stream.initial_metadata()
    return stream


async def refused_stream(gateway: Running) -> Told:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(aiter(gateway.sessions.WatchEvents(pb.WatchEventsRequest(), timeout=5)))
    return told(raised.value)


async def test_a_call_too_many_is_refused_and_the_next_one_served(scene: Scene) -> None:
    """RESOURCE_EXHAUSTED, GATEWAY_BUSY, NOT_SENT, with the time to wait; the provider hears nothing of it."""
    async with hanging_calls(scene, 2):
        for _ in range(3):
            assert refused(await scene.fails(user_id="one too many")) == BUSY
        assert len(scene.provider.received) == 2
    request = pb.CloseSessionRequest(provider="lucky", user_id="after")
    assert (await scene.gateway.sessions.CloseSession(request, timeout=5)).outcome == pb.OUTCOME_CLOSED


async def test_it_is_refused_before_its_request_is_read(scene: Scene) -> None:
    """What is no message of the method is not even looked at; with room again it is."""
    call: Any = scene.gateway.channel.unary_unary("/gateway.v1.SessionService/CloseSession")
    garbage = b"\xff\xff\xff"
    async with hanging_calls(scene, 2):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(garbage, timeout=5)
        assert refused(told(raised.value)) == BUSY
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(garbage, timeout=5)
    assert told(raised.value).reason == "FIELD_INVALID"


async def test_a_call_that_fails_or_is_given_up_gives_its_place_back(scene: Scene) -> None:
    """However a call ends, and as often as it does."""
    for _ in range(3):
        assert (await scene.fails(provider="nobody")).reason == "PROVIDER_UNKNOWN"
        release = asyncio.Event()
        scene.provider.behaviour = answering_after(release)
        scene.provider.arrived.clear()
        request = pb.CloseSessionRequest(provider="lucky", user_id="given up")
        call = scene.gateway.sessions.CloseSession(request, timeout=30)
        await asyncio.wait_for(scene.provider.arrived.wait(), 5)
        call.cancel()
        release.set()
    await until(lambda: scene.gateway.gateway.rpc_server._calls.in_flight == 0)


async def test_streams_of_events_have_places_of_their_own(scene: Scene) -> None:
    """A stream takes none of the calls' places, nor a call of theirs; one stream too many is refused like a call."""
    first = await watching(scene.gateway)
    async with hanging_calls(scene, 2):
        assert refused(await refused_stream(scene.gateway)) == BUSY
    first.cancel()
    await until(lambda: scene.gateway.gateway.rpc_server._calls._streams == 0)
    async with hanging_calls(scene, 2):
        (await watching(scene.gateway)).cancel()


async def test_health_and_reflection_are_asked_under_any_load(scene: Scene) -> None:
    """A gateway that is busy is not a dead one."""
    async with hanging_calls(scene, 2):
        assert refused(await scene.fails()) == BUSY
        health = health_pb2_grpc.HealthStub(scene.gateway.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=""), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(scene.gateway.channel).ServerReflectionInfo(timeout=5)
        await reflection.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert (await reflection.read()).list_services_response.service
        reflection.cancel()


async def test_a_request_that_is_too_large_is_refused(scene: Scene) -> None:
    """RESOURCE_EXHAUSTED, in each server's own words; the connection goes on."""
    scene.provider.behaviour = answering()
    call = scene.gateway.sessions.CloseSession
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(pb.CloseSessionRequest(provider="lucky", user_id="u", reason="x" * 17_000), timeout=5)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await call(pb.CloseSessionRequest(provider="lucky", user_id="u"), timeout=5)).outcome == pb.OUTCOME_CLOSED


async def test_limits_may_be_changed_while_it_serves(scene: Scene) -> None:
    """They hold from the next call on; what is under way is left alone."""
    async with hanging_calls(scene, 2):
        scene.gateway.gateway.rpc_server.set_limits(RpcLimits(calls=3))
        answer = await scene.gateway.sessions.ListProviders(pb.ListProvidersRequest(), timeout=5)
        assert answer.providers
        scene.gateway.gateway.rpc_server.set_limits(RpcLimits(calls=1))
        assert refused(await scene.fails()) == BUSY


@asynccontextmanager
async def bare(
    server: GrpcServerKind = GrpcServerKind.GRPCIO, limits: RpcLimits | None = None, tls: TlsFiles | None = None
) -> AsyncIterator[int]:
    """A server with health alone; answers its port."""
    rpc = RpcServer([], native=server is GrpcServerKind.NATIVE, limits=limits)
    port = await rpc.start("127.0.0.1", 0, tls)
    try:
        yield port
    finally:
        await rpc.stop(0)


async def ends(work: Awaitable[object]) -> None:
    async with asyncio.timeout(10):
        await work


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers have half a second to open their side."""
    monkeypatch.setattr(rpc_server, "HANDSHAKE_S", 0.5)
    monkeypatch.setattr(rpc_server, "CONNECTION_AGE_GRACE_S", 0.5)


@pytest.mark.parametrize("said", [b"", b"PRI * HT"])
async def test_who_connects_and_says_nothing_is_hung_up_on(impatient: None, said: bytes) -> None:
    """Neither silence nor half a beginning keeps a connection."""
    async with bare() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        await ends(reader.read())
        writer.close()


async def test_a_dripped_handshake_is_hung_up_on(impatient: None) -> None:
    """A hello of TLS that comes byte by byte has no more time than another."""
    issued = trustme.CA().issue_cert("localhost")
    files = TlsFiles(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())
    async with bare(tls=files) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        gone = asyncio.create_task(reader.read())
        async with asyncio.timeout(10):
            for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 1000:
                if gone.done() or writer.is_closing():
                    break
                writer.write(bytes((byte,)))
                await asyncio.wait({gone}, timeout=0.1)
        assert gone.done()
        writer.close()
        await asyncio.gather(gone, return_exceptions=True)


async def test_an_old_connection_ends_gracefully(impatient: None) -> None:
    """A client that goes on calling notices nothing: it is asked to connect anew, and calls under way are answered."""
    async with bare(limits=RpcLimits(connection_age_s=0.5)) as port:
        states: list[grpc.ChannelConnectivity] = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            async with asyncio.timeout(20):
                while states.count(grpc.ChannelConnectivity.IDLE) < 2:
                    await stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=5)
                    states += [state] if (state := channel.get_state()) not in states[-1:] else []


async def test_what_never_ends_is_cut_off_with_an_old_connection(impatient: None) -> None:
    """A stream has the grace and no more: its client comes back by another connection."""
    async with (
        bare(limits=RpcLimits(connection_age_s=0.5)) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert await watch.read()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ends(watch.read())
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before the limit are served, and more are disconnected."""
    monkeypatch.setattr(rpc_server, "CONNECTIONS", 1)
    async with bare() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=5)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await ends(reader.read())
        writer.close()
        await stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=5)
