"""What callers may rely on below the services, at both gRPC servers: metadata, pings, slow readers, a stop."""

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
from gateway.v1.session_service_pb2_grpc import SessionServiceServicer, SessionServiceStub
from tests.gateway.rpc.harness import a_scene
from tests.gateway.rpc.http2_peer import DATA, GOAWAY, HEADERS, PING, RST_STREAM, connected
from tests.support.gateway import told
from tests.support.provider import hanging

LARGE = pb.WatchEventsResponse(event=pb.Event(reference="x" * 1000))


class Service(SessionServiceServicer):
    """ListProviders waits until it may end; WatchEvents does not end; the rest is not served."""

    def __init__(self) -> None:
        self.started, self.may_end, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.sent = 0

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
    """A server with one service, and where it listens."""

    def __init__(self, kind: GrpcServerKind) -> None:
        self.service = Service()
        self.server = RpcServer([self.service], native=kind is GrpcServerKind.NATIVE)
        self.port = 0

    def channel(self, *options: tuple[str, int]) -> grpc.aio.Channel:
        """A connection of its own to it."""
        own = ("grpc.use_local_subchannel_pool", 1)
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=[own, *options])


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


def listed(channel: grpc.aio.Channel, **options: Any) -> Any:
    """A call of ListProviders."""
    return SessionServiceStub(channel).ListProviders(pb.ListProvidersRequest(), timeout=10, **options)


@pytest.mark.parametrize("size", [9_000, 15_700])
async def test_metadata_below_the_limit_is_accepted_every_time(served: Served, size: int) -> None:
    """Up to 16 KiB with what a client adds; grpcio by itself rejects some calls at random from 8 KiB on."""
    served.service.may_end.set()
    async with served.channel() as channel:
        for _ in range(40):
            await listed(channel, metadata=[("x-a", "1" * size)])


async def test_metadata_above_the_limit_fails_its_call_alone(served: Served) -> None:
    """What else is in flight on the connection goes on."""
    async with served.channel() as channel:
        other = listed(channel)
        await served.service.started.wait()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await listed(channel, metadata=[("x-a", "1" * 20_000)])
        # By its own word, or by HTTP's status 431.
        assert refused.value.code() in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNKNOWN}
        served.service.may_end.set()
        await other


async def pinged(port: int) -> list[int]:
    """What answers pings on a stream without messages, each sent as soon as the one before is answered."""
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
async def test_pings_that_keep_the_interval_are_answered(kind: GrpcServerKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may ping an idle stream every 10 s; the interval is cut to nothing here, so that nobody waits."""
    assert MIN_PING_INTERVAL_S < 10
    monkeypatch.setattr(rpc_server, "MIN_PING_INTERVAL_S", 0)
    async with serving(kind) as served:
        assert await pinged(served.port) == [PING] * 10


async def test_pings_below_the_interval_end_their_connection_at_grpcio() -> None:
    """With GOAWAY, after a few."""
    async with serving(GrpcServerKind.GRPCIO) as served:
        assert (await pinged(served.port))[-1] == GOAWAY


async def test_subscribers_that_do_not_read_hold_up_nobody(served: Served) -> None:
    """However many they are: others read on, threads are free, and the server stops in time."""
    stuck = [served.channel(("grpc.http2.bdp_probe", 0)) for _ in range(50)]
    calls = [SessionServiceStub(channel).WatchEvents(pb.WatchEventsRequest()) for channel in stuck]
    await asyncio.gather(*(call.read() for call in calls))
    async with asyncio.timeout(20):
        before = -1
        while before != served.service.sent:  # until none is sent any more
            before = served.service.sent
            await asyncio.sleep(0.3)
        await asyncio.to_thread(lambda: None)
        async with served.channel() as channel:
            reading = SessionServiceStub(channel).WatchEvents(pb.WatchEventsRequest())
            for _ in range(1000):
                assert await reading.read() == LARGE
            reading.cancel()
        await served.server.stop(0.2)
    for channel in stuck:
        await channel.close()
    assert before < 50 * 1000


async def test_a_stop_lets_calls_finish(served: Served) -> None:
    """What is in flight is answered; what comes then is UNAVAILABLE."""
    async with served.channel() as channel, served.channel() as late:
        call = listed(channel)
        await served.service.started.wait()
        stopping = asyncio.create_task(served.server.stop(10))
        async with asyncio.timeout(10):
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


async def test_a_call_that_comes_while_the_native_server_stops_learns_why() -> None:
    """GATEWAY_STOPPING, and that nothing was done: the native server accepts calls until the last one has ended."""
    async with serving(GrpcServerKind.NATIVE) as served, served.channel() as channel:
        call = listed(channel)
        await served.service.started.wait()
        stopping = asyncio.create_task(served.server.stop(10))
        await asyncio.sleep(0)  # until it has begun
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await listed(channel)
        refused = told(raised.value)
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "GATEWAY_STOPPING")
        assert refused.certainty == "NOT_SENT"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await SessionServiceStub(channel).WatchEvents(pb.WatchEventsRequest(), timeout=10).read()
        assert told(raised.value).reason == "GATEWAY_STOPPING"
        served.service.may_end.set()
        await call
        await stopping


@pytest.mark.parametrize("kind", list(GrpcServerKind))
async def test_a_stop_ends_an_open_stream_with_its_reason(tmp_path: Path, kind: GrpcServerKind) -> None:
    """GATEWAY_STOPPING, with where to go on; it does not take the grace."""
    async with a_scene(tmp_path, kind) as scene, asyncio.timeout(5):
        stream = scene.gateway.sessions.WatchEvents(pb.WatchEventsRequest())
        await stream.initial_metadata()
        reading = asyncio.ensure_future(stream.read())
        await scene.gateway.gateway.stop()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await reading
        ended = told(raised.value)
        assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "GATEWAY_STOPPING")


async def test_a_stop_does_not_wait_longer_than_its_grace(served: Served) -> None:
    """What is still in flight then is cancelled."""
    async with served.channel() as channel:
        call = listed(channel)
        await served.service.started.wait()
        await served.server.stop(0.1)
        async with asyncio.timeout(10):
            await served.service.cancelled.wait()
            with pytest.raises(grpc.aio.AioRpcError):
                await call


async def test_work_ends_with_the_callers_deadline_or_cancellation(served: Served) -> None:
    """Its handler is cancelled."""
    for cancelled in (False, True):
        async with served.channel() as channel:
            call = SessionServiceStub(channel).ListProviders(
                pb.ListProvidersRequest(), timeout=10 if cancelled else 0.2
            )
            await served.service.started.wait()
            if cancelled:
                call.cancel()
            async with asyncio.timeout(10):
                await served.service.cancelled.wait()
        served.service.started.clear()
        served.service.cancelled.clear()


async def test_a_health_watcher_that_takes_nothing_does_not_hold_up_stopping(served: Served) -> None:
    """It has room for no answer, and is ended with the others."""
    async with connected(served.port) as peer:
        peer.watch(window=0)
        await peer.until(HEADERS)
        async with asyncio.timeout(5):
            await served.server.stop(4)


@pytest.mark.parametrize("kind", list(GrpcServerKind))
async def test_without_a_deadline_the_configured_one_holds(tmp_path: Path, kind: GrpcServerKind) -> None:
    """`default_deadline_s`, for a caller that sets none."""
    async with a_scene(tmp_path, kind, grpc="default_deadline_s = 0.3") as scene, asyncio.timeout(5):
        scene.provider.behaviour = hanging
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await scene.gateway.sessions.CloseSession(pb.CloseSessionRequest(provider="lucky", user_id="u"))
        assert told(raised.value).reason == "PROVIDER_TIMEOUT"
