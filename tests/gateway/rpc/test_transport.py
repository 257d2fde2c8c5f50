"""Both gRPC servers below the services: metadata, pings, clients that do not read, deadlines, and a stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.config import GrpcServerKind
from gateway.rpc import server as rpc_server
from gateway.rpc.limits import MIN_PING_INTERVAL_S
from gateway.rpc.server import RpcServer
from gateway.v1 import session_service_pb2 as pb
from gateway.v1.session_service_pb2_grpc import (
    SessionServiceServicer,
    SessionServiceStub,
    add_SessionServiceServicer_to_server,
)
from tests.gateway.rpc.harness import RpcHarness, rpc_harness, settled
from tests.gateway.rpc.http2_peer import DATA, GOAWAY, HEADERS, PING, RST_STREAM, connected
from tests.support.gateway import failure_of
from tests.support.provider import hanging

LARGE = pb.WatchEventsResponse(event=pb.Event(reference="x" * 1000))


class Service(SessionServiceServicer):
    """ListProviders waits for `may_end`; WatchEvents does not end; the other methods are not implemented."""

    def __init__(self) -> None:
        self.started, self.may_end, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.sent = 0

    def add_to(self, server: Any) -> None:
        add_SessionServiceServicer_to_server(self, server)

    async def CloseSession(self, request: Any, context: Any) -> pb.CloseSessionResponse:  # noqa: N802 - the contract's
        raise NotImplementedError

    async def ListProviders(self, request: Any, context: Any) -> pb.ListProvidersResponse:  # noqa: N802 - the contract's
        self.started.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return pb.ListProvidersResponse()

    async def WatchEvents(self, request: Any, context: Any) -> AsyncIterator[pb.WatchEventsResponse]:  # noqa: N802
        while True:
            self.sent += 1
            yield LARGE


class Served:
    """A server with one service, and its port."""

    def __init__(self, kind: GrpcServerKind) -> None:
        self.service = Service()
        self.server = RpcServer([self.service], native=kind is GrpcServerKind.NATIVE)
        self.port = 0

    def channel(self, *options: tuple[str, int]) -> grpc.aio.Channel:
        """A channel with a separate connection."""
        separate = ("grpc.use_local_subchannel_pool", 1)
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=[separate, *options])


@asynccontextmanager
async def serving(kind: GrpcServerKind) -> AsyncIterator[Served]:
    served = Served(kind)
    served.port = await served.server.start("127.0.0.1", 0, None)
    try:
        yield served
    finally:
        await served.server.stop(0)


@pytest.fixture(params=list(GrpcServerKind))
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    async with serving(request.param) as served:
        yield served


def call_service(channel: grpc.aio.Channel, **options: Any) -> Any:
    """Call ListProviders."""
    return SessionServiceStub(channel).ListProviders(pb.ListProvidersRequest(), **{"timeout": 30, **options})


@pytest.mark.parametrize("size", [9_000, 15_700])
async def test_metadata_below_the_limit_is_always_accepted(served: Served, size: int) -> None:
    """Up to 16 KiB with the client's own fields. By default grpcio rejects some calls at random above 8 KiB."""
    served.service.may_end.set()
    async with served.channel() as channel:
        for _ in range(40):
            await call_service(channel, metadata=[("x-a", "1" * size)])


async def test_metadata_above_the_limit_fails_only_its_call(served: Served) -> None:
    """Other calls on the connection succeed."""
    async with served.channel() as channel:
        other = call_service(channel)
        await served.service.started.wait()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call_service(channel, metadata=[("x-a", "1" * 20_000)])
        # By gRPC's status, or by HTTP's status 431.
        assert refused.value.code() in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNKNOWN}
        served.service.may_end.set()
        await other


async def ping(port: int) -> list[int]:
    """Ping ten times on a stream without messages, each as soon as the one before is answered. Returns the answers."""
    answers = []
    async with connected(port) as peer:
        peer.watch()
        await peer.until(DATA)
        for _ in range(10):
            peer.send(PING, payload=b"are you?")
            answers.append(await peer.until(PING, GOAWAY, RST_STREAM))
            if answers[-1] != PING:
                break
    return answers


@pytest.mark.parametrize("kind", list(GrpcServerKind))
async def test_pings_at_the_minimum_interval_are_answered(
    kind: GrpcServerKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client can ping an idle stream every 10 s."""
    assert MIN_PING_INTERVAL_S < 10
    # Without an interval the test need not wait.
    monkeypatch.setattr(rpc_server, "MIN_PING_INTERVAL_S", 0)
    async with serving(kind) as served:
        assert await ping(served.port) == [PING] * 10


async def test_grpcio_ends_a_connection_with_too_frequent_pings() -> None:
    """It sends GOAWAY after a few pings below the minimum interval."""
    async with serving(GrpcServerKind.GRPCIO) as served:
        assert (await ping(served.port))[-1] == GOAWAY


async def test_clients_that_do_not_read_delay_nobody(served: Served) -> None:
    """With 50 of them, other clients read, the executor has free threads, and the server stops."""
    stuck = [served.channel(("grpc.http2.bdp_probe", 0)) for _ in range(50)]
    calls = [SessionServiceStub(channel).WatchEvents(pb.WatchEventsRequest()) for channel in stuck]
    await asyncio.gather(*(call.read() for call in calls))
    async with asyncio.timeout(60):
        sent = await settled(lambda: served.service.sent)
        await asyncio.to_thread(lambda: None)
        async with served.channel() as channel:
            reading = SessionServiceStub(channel).WatchEvents(pb.WatchEventsRequest())
            for _ in range(1000):
                assert await reading.read() == LARGE
            reading.cancel()
        await served.server.stop(0.2)
    for channel in stuck:
        await channel.close()
    assert sent < 50 * 1000


async def test_calls_in_flight_finish_during_a_stop(served: Served) -> None:
    """They are answered; later calls are UNAVAILABLE."""
    async with served.channel() as channel, served.channel() as late:
        call = call_service(channel)
        await served.service.started.wait()
        stopping = asyncio.create_task(served.server.stop(60))
        async with asyncio.timeout(60):
            code = None
            while code is not grpc.StatusCode.UNAVAILABLE:
                served.service.started.clear()
                try:
                    await SessionServiceStub(late).ListProviders(pb.ListProvidersRequest(), timeout=0.1)
                except grpc.aio.AioRpcError as error:
                    code = error.code()
            assert not served.service.started.is_set()
            assert not stopping.done()
            served.service.may_end.set()
            assert await call == pb.ListProvidersResponse()
            await stopping


async def test_the_native_server_rejects_calls_while_it_stops() -> None:
    """They are GATEWAY_STOPPING and NOT_SENT: the server accepts connections until the last call has ended."""
    async with serving(GrpcServerKind.NATIVE) as served, served.channel() as channel:
        call = call_service(channel)
        await served.service.started.wait()
        stopping = asyncio.create_task(served.server.stop(60))
        await asyncio.sleep(0)  # until the stop has begun
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call_service(channel)
        failure = failure_of(raised.value)
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "GATEWAY_STOPPING")
        assert failure.certainty == "NOT_SENT"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await SessionServiceStub(channel).WatchEvents(pb.WatchEventsRequest(), timeout=30).read()
        assert failure_of(raised.value).reason == "GATEWAY_STOPPING"
        served.service.may_end.set()
        await call
        await stopping


@pytest.mark.usefixtures("long_stop_grace")
async def test_a_stop_ends_an_event_stream(harness: RpcHarness) -> None:
    """The stream is GATEWAY_STOPPING, and the stop does not wait for its grace."""
    async with asyncio.timeout(30):
        stream = harness.gateway.sessions.WatchEvents(pb.WatchEventsRequest())
        await stream.initial_metadata()
        reading = asyncio.ensure_future(stream.read())
        await harness.gateway.gateway.stop()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await reading
        failure = failure_of(raised.value)
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "GATEWAY_STOPPING")


async def test_a_stop_cancels_calls_after_its_grace(served: Served) -> None:
    """A call that is still in flight then fails, and its handler is cancelled."""
    async with served.channel() as channel:
        call = call_service(channel)
        await served.service.started.wait()
        await served.server.stop(0.1)
        async with asyncio.timeout(30):
            await served.service.cancelled.wait()
            with pytest.raises(grpc.aio.AioRpcError):
                await call


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_handler_ends_with_its_callers_deadline_or_cancellation(served: Served, cancelled: bool) -> None:
    """It is cancelled."""
    async with served.channel() as channel, asyncio.timeout(60):
        await channel.channel_ready()
        call = call_service(channel, timeout=60 if cancelled else 2)
        await served.service.started.wait()
        if cancelled:
            call.cancel()
        await served.service.cancelled.wait()


async def test_a_health_watcher_that_does_not_read_does_not_delay_a_stop(served: Served) -> None:
    """A client with an empty flow-control window is disconnected before the grace is over."""
    async with connected(served.port) as peer:
        peer.watch(window=0)
        await peer.until(HEADERS)
        async with asyncio.timeout(30):
            await served.server.stop(600)


@pytest.mark.parametrize("kind", list(GrpcServerKind))
async def test_a_call_without_a_deadline_has_the_default_one(tmp_path: Path, kind: GrpcServerKind) -> None:
    """`default_deadline_s` applies."""
    async with rpc_harness(tmp_path, kind, grpc="default_deadline_s = 1.5") as harness, asyncio.timeout(30):
        harness.provider.behaviour = hanging
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await harness.gateway.sessions.CloseSession(pb.CloseSessionRequest(provider="lucky", user_id="u"))
        assert failure_of(raised.value).reason == "PROVIDER_TIMEOUT"
