"""gRPC health (grpc.health.v1) on both gRPC servers."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.config import GrpcServerKind
from gateway.rpc.health import HealthService
from gateway.rpc.native import NativeServer
from tests.gateway.rpc.http2_peer import HEADERS, connected

Response = health_pb2.HealthCheckResponse


@pytest.fixture(params=list(GrpcServerKind))
async def served(request: pytest.FixtureRequest) -> AsyncIterator[tuple[HealthService, int]]:
    """The service, and the port that it is served on."""
    server = NativeServer() if request.param is GrpcServerKind.NATIVE else grpc.aio.server()
    health = HealthService()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield health, port
    await server.stop(0)


async def test_a_watcher_that_does_not_read_delays_no_other(served: tuple[HealthService, int]) -> None:
    """Other callers see each change, by Check and by Watch."""
    health, port = served
    async with (
        connected(port) as peer,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        asyncio.timeout(30),
    ):
        peer.watch(window=0)
        await peer.until(HEADERS)
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == Response.SERVING
        for status in (Response.NOT_SERVING, Response.SERVING) * 5:
            health.set({"": status})
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == status
            assert (await watch.read()).status == status
        watch.cancel()


async def test_an_unknown_name_can_be_watched_until_it_is_set(served: tuple[HealthService, int]) -> None:
    """Check is NOT_FOUND. Watch sends SERVICE_UNKNOWN, and later the status that is set."""
    health, port = served
    request = health_pb2.HealthCheckRequest(service="later")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(30):
        stub = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Check(request)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(request)
        assert (await watch.read()).status == Response.SERVICE_UNKNOWN
        health.set({"later": Response.SERVING})
        assert (await watch.read()).status == Response.SERVING
        watch.cancel()


async def test_after_a_stop_every_name_is_not_serving(served: tuple[HealthService, int]) -> None:
    """Watchers receive NOT_SERVING, and a later change has no effect."""
    health, port = served
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(30):
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == Response.SERVING
        health.stop()
        assert (await watch.read()).status == Response.NOT_SERVING
        health.set({"": Response.SERVING})
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == Response.NOT_SERVING
        watch.cancel()
