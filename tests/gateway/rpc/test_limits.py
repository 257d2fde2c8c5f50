"""Calls, streams and connections above the limits are rejected at once, and served once there is capacity again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.config import GrpcServerKind
from gateway.rpc import health, receiving, reflection
from gateway.rpc import server as rpc_server
from gateway.rpc.limits import RpcLimits
from gateway.rpc.server import RpcServer, TlsFiles
from gateway.v1 import session_service_pb2 as pb
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.gateway.rpc.harness import RpcHarness, rpc_harness
from tests.gateway.rpc.http2_peer import DATA, HEADERS, Peer, connected
from tests.support.gateway import RpcFailure, Running, failure_of
from tests.support.provider import answering, answering_after
from tests.support.waiting import until

BUSY = (grpc.StatusCode.RESOURCE_EXHAUSTED, "GATEWAY_BUSY", "NOT_SENT", True)

LOW_LIMITS = "max_calls = 2\nmax_event_streams = 1\nmax_message_bytes = 16384"


@pytest.fixture(params=list(GrpcServerKind))
async def harness(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[RpcHarness]:
    """A gateway with low limits."""
    async with rpc_harness(tmp_path, request.param, grpc=LOW_LIMITS) as harness:
        yield harness


def summary(failure: RpcFailure) -> tuple[grpc.StatusCode, str, str, bool]:
    return failure.code, failure.reason, failure.certainty, failure.retry


@asynccontextmanager
async def hanging_calls(harness: RpcHarness, count: int) -> AsyncIterator[None]:
    """Keep `count` closes in flight at the provider; all succeed in the end."""
    release = asyncio.Event()
    harness.provider.behaviour = answering_after(release)
    requests = [pb.CloseSessionRequest(provider="lucky", user_id=f"hung-{number}") for number in range(count)]
    calls = [asyncio.ensure_future(harness.gateway.sessions.CloseSession(one, timeout=30)) for one in requests]
    try:
        await until(lambda: len(harness.provider.received) == count)
        yield
    finally:
        release.set()
        answers = await asyncio.gather(*calls)
        harness.provider.received.clear()
    assert [answer.outcome for answer in answers] == [pb.OUTCOME_CLOSED] * count
    harness.provider.behaviour = answering()


async def open_stream(gateway: Running) -> grpc.aio.UnaryStreamCall[Any, Any]:
    """Open an event stream."""
    stream = gateway.sessions.WatchEvents(pb.WatchEventsRequest())
    await stream.initial_metadata()
    return stream


async def rejected_stream(gateway: Running) -> RpcFailure:
    """Open an event stream, which must fail. Returns the failure."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(aiter(gateway.sessions.WatchEvents(pb.WatchEventsRequest(), timeout=30)))
    return failure_of(raised.value)


async def test_a_call_above_the_limit_is_rejected(harness: RpcHarness) -> None:
    """It is GATEWAY_BUSY and nothing is sent; a call after the load succeeds."""
    async with hanging_calls(harness, 2):
        for _ in range(3):
            assert summary(await harness.fails(user_id="above the limit")) == BUSY
        assert len(harness.provider.received) == 2
    request = pb.CloseSessionRequest(provider="lucky", user_id="after")
    assert (await harness.gateway.sessions.CloseSession(request, timeout=30)).outcome == pb.OUTCOME_CLOSED


async def test_a_call_is_rejected_before_its_request_is_decoded(harness: RpcHarness) -> None:
    """Bytes that are not a message are GATEWAY_BUSY under load, and FIELD_INVALID after it."""
    call: Any = harness.gateway.channel.unary_unary("/gateway.v1.SessionService/CloseSession")
    garbage = b"\xff\xff\xff"
    async with hanging_calls(harness, 2):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(garbage, timeout=30)
        assert summary(failure_of(raised.value)) == BUSY
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(garbage, timeout=30)
    assert failure_of(raised.value).reason == "FIELD_INVALID"


async def test_a_failed_or_cancelled_call_is_no_longer_in_flight(harness: RpcHarness) -> None:
    """Calls that fail or are cancelled do not reduce the capacity."""
    for _ in range(3):
        assert (await harness.fails(provider="nobody")).reason == "PROVIDER_UNKNOWN"
        release = asyncio.Event()
        harness.provider.behaviour = answering_after(release)
        harness.provider.arrived.clear()
        request = pb.CloseSessionRequest(provider="lucky", user_id="cancelled")
        call = harness.gateway.sessions.CloseSession(request, timeout=30)
        await asyncio.wait_for(harness.provider.arrived.wait(), 30)
        call.cancel()
        release.set()
    await until(lambda: harness.gateway.gateway.rpc_server.in_flight == 0)


async def test_event_streams_have_a_separate_limit(harness: RpcHarness) -> None:
    """Streams do not count as calls, nor calls as streams; a stream above the limit is rejected like a call."""
    first = await open_stream(harness.gateway)
    async with hanging_calls(harness, 2):
        assert summary(await rejected_stream(harness.gateway)) == BUSY
    first.cancel()
    await until(lambda: harness.gateway.gateway.rpc_server.in_flight == 0)
    async with hanging_calls(harness, 2):
        (await open_stream(harness.gateway)).cancel()


async def test_health_and_reflection_answer_under_load(harness: RpcHarness) -> None:
    """The limits do not apply to them."""
    async with hanging_calls(harness, 2):
        assert summary(await harness.fails()) == BUSY
        stub = health_pb2_grpc.HealthStub(harness.gateway.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stream = reflection_pb2_grpc.ServerReflectionStub(harness.gateway.channel).ServerReflectionInfo(timeout=30)
        await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert (await stream.read()).list_services_response.service
        stream.cancel()


async def test_a_request_that_is_too_large_is_rejected(harness: RpcHarness) -> None:
    """It is RESOURCE_EXHAUSTED, and the next call on the connection succeeds."""
    harness.provider.behaviour = answering()
    call = harness.gateway.sessions.CloseSession
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(pb.CloseSessionRequest(provider="lucky", user_id="u", reason="x" * 17_000), timeout=30)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await call(pb.CloseSessionRequest(provider="lucky", user_id="u"), timeout=30)).outcome == pb.OUTCOME_CLOSED


async def test_changed_limits_apply_to_the_next_call(harness: RpcHarness) -> None:
    """Calls in flight are not affected."""
    async with hanging_calls(harness, 2):
        harness.gateway.gateway.rpc_server.set_limits(RpcLimits(calls=3))
        answer = await harness.gateway.sessions.ListProviders(pb.ListProvidersRequest(), timeout=30)
        assert answer.providers
        harness.gateway.gateway.rpc_server.set_limits(RpcLimits(calls=1))
        assert summary(await harness.fails()) == BUSY


@pytest.mark.parametrize("kind", list(GrpcServerKind))
async def test_one_connection_has_a_share(tmp_path: Path, kind: GrpcServerKind) -> None:
    """Above its share of calls and of streams it is rejected, while another connection is served."""
    shares = "max_calls_per_connection = 2\nmax_event_streams_per_connection = 1"
    async with rpc_harness(tmp_path, kind, grpc=shares) as harness, hanging_calls(harness, 2):
        stream = await open_stream(harness.gateway)
        failure = await harness.fails(user_id="above the share")
        assert summary(failure) == summary(await rejected_stream(harness.gateway)) == BUSY
        assert "this connection" in failure.message
        separate = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(harness.gateway.listening.grpc, options=separate) as channel:
            stub = SessionServiceStub(channel)
            assert (await stub.ListProviders(pb.ListProvidersRequest(), timeout=30)).providers
            other = stub.WatchEvents(pb.WatchEventsRequest())
            await other.initial_metadata()
            other.cancel()
        stream.cancel()


@asynccontextmanager
async def unfinished(port: int, count: int) -> AsyncIterator[Peer]:
    """A connection with requests whose last byte does not arrive: streams 1, 3, 5…"""
    async with connected(port) as peer:
        peer.begin()
        for stream in range(1, 2 * count, 2):
            peer.request(stream, "/grpc.health.v1.Health/Check")
            peer.send(DATA, 0, stream, b"\0\0\0\0\2x")
        yield peer


async def check(port: int) -> int:
    """Call Health.Check on a separate connection. Returns the status."""
    separate = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=separate) as channel:
        return int(
            (await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)).status
        )


async def test_an_unfinished_request_is_rejected_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client cannot hold one open, and nothing of it stays."""
    monkeypatch.setattr(receiving, "RECEIVE_TIMEOUT_S", 0.3)
    async with bare() as port, unfinished(port, 1) as peer:
        await peer.until(HEADERS)


@pytest.mark.parametrize("limit", ["MAX_INCOMPLETE", "MAX_INCOMPLETE_PER_CONNECTION"])
async def test_unfinished_requests_lose_their_places_to_newer_ones(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """With all places taken the oldest is rejected, and a complete request is answered."""
    monkeypatch.setattr(receiving, "RECEIVE_TIMEOUT_S", 600)
    monkeypatch.setattr(receiving, limit, 2)
    async with bare() as port, unfinished(port, 3) as peer:
        assert await peer.until(HEADERS) == HEADERS
        assert peer.stream == 1
        assert await check(port) == health_pb2.HealthCheckResponse.SERVING


async def test_a_connection_rejects_its_own_unfinished_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older one of another connection keeps its place."""
    monkeypatch.setattr(receiving, "RECEIVE_TIMEOUT_S", 600)
    monkeypatch.setattr(receiving, "MAX_INCOMPLETE_PER_CONNECTION", 2)
    async with bare() as port, unfinished(port, 1), unfinished(port, 3) as peer, asyncio.timeout(30):
        assert await peer.until(HEADERS) == HEADERS
        assert peer.stream == 1


@pytest.mark.parametrize("limit", ["MAX_HEALTH_WATCHES", "MAX_HEALTH_WATCHES_PER_CONNECTION"])
@pytest.mark.parametrize("kind", list(GrpcServerKind))
async def test_watches_of_health_are_bounded(monkeypatch: pytest.MonkeyPatch, kind: GrpcServerKind, limit: str) -> None:
    """A Watch above the limit is rejected, a Check is answered, and an ended Watch frees its place."""
    monkeypatch.setattr(health, limit, 2)
    async with bare(kind) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(30):
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        for watch in watches:
            await watch.read()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Watch(health_pb2.HealthCheckRequest()).read()
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await check(port) == health_pb2.HealthCheckResponse.SERVING
        watches[0].cancel()
        while True:
            with suppress(grpc.aio.AioRpcError):
                await stub.Watch(health_pb2.HealthCheckRequest()).read()
                break


@pytest.mark.parametrize("limit", ["MAX_REFLECTION_STREAMS", "MAX_REFLECTION_STREAMS_PER_CONNECTION"])
async def test_reflection_streams_are_bounded(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """A stream above the limit is rejected, until another one has ended."""
    monkeypatch.setattr(reflection, limit, 1)
    async with bare() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(30):
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        first = call()
        await first.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert await first.read()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call().read()
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await first.done_writing()
        assert await first.read() is grpc.aio.EOF
        await call(iter([])).read()


@asynccontextmanager
async def bare(
    server: GrpcServerKind = GrpcServerKind.GRPCIO, limits: RpcLimits | None = None, tls: TlsFiles | None = None
) -> AsyncIterator[int]:
    """A server with gRPC health alone. Yields its port."""
    rpc = RpcServer([], native=server is GrpcServerKind.NATIVE, limits=limits)
    port = await rpc.start("127.0.0.1", 0, tls)
    try:
        yield port
    finally:
        await rpc.stop(0)


async def ends(work: Awaitable[object]) -> None:
    async with asyncio.timeout(30):
        await work


@pytest.fixture
def short_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_server, "HANDSHAKE_TIMEOUT_S", 0.5)


@pytest.fixture
def short_age_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_server, "CONNECTION_AGE_GRACE_S", 0.5)


@pytest.mark.parametrize("preface", [b"", b"PRI * HT"])
@pytest.mark.usefixtures("short_handshake")
async def test_a_silent_connection_is_closed(preface: bytes) -> None:
    """A peer that sends nothing, or half of HTTP/2's preface, is disconnected."""
    async with bare() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(preface)
        await ends(reader.read())
        writer.close()


@pytest.mark.usefixtures("short_handshake")
async def test_a_slow_tls_handshake_is_closed() -> None:
    """A ClientHello that arrives byte by byte has no more time than another."""
    issued = trustme.CA().issue_cert("localhost")
    files = TlsFiles(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())
    async with bare(tls=files) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        closed = asyncio.create_task(reader.read())
        async with asyncio.timeout(30):
            for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 1000:
                if closed.done() or writer.is_closing():
                    break
                writer.write(bytes((byte,)))
                await asyncio.wait({closed}, timeout=0.1)
        assert closed.done()
        writer.close()
        await asyncio.gather(closed, return_exceptions=True)


async def test_no_call_fails_when_a_connection_reaches_its_maximum_age() -> None:
    """The client reconnects, and calls in flight are answered."""
    async with bare(limits=RpcLimits(connection_age_s=0.5)) as port:
        states: list[grpc.ChannelConnectivity] = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            async with asyncio.timeout(60):
                while states.count(grpc.ChannelConnectivity.IDLE) < 2:
                    await stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=30)
                    states += [state] if (state := channel.get_state()) not in states[-1:] else []


@pytest.mark.usefixtures("short_age_grace")
async def test_a_stream_ends_after_the_grace_of_an_old_connection() -> None:
    """It is UNAVAILABLE, so that its client reconnects."""
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
    """Connections above the maximum are closed; those below it are served."""
    monkeypatch.setattr(rpc_server, "HANDSHAKE_TIMEOUT_S", 600)  # that would close it too
    async with bare(limits=RpcLimits(connections=1)) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=30)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await ends(reader.read())
        writer.close()
        await stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=30)
