"""grpc.health.v1, at both gRPC servers."""

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
    """The service, and the port where it is served."""
    server = NativeServer() if request.param is GrpcServerKind.NATIVE else grpc.aio.server()
    health = HealthService()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield health, port
    await server.stop(0)


async def test_a_watcher_that_takes_nothing_holds_up_no_other(served: tuple[HealthService, int]) -> None:
    """Others see each change, by Check and by Watch."""
    health, port = served
    async with (
        connected(port) as peer,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        asyncio.timeout(10),
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


async def test_a_name_that_was_never_set(served: tuple[HealthService, int]) -> None:
    """Check is NOT_FOUND; Watch says SERVICE_UNKNOWN, and goes on with what is set."""
    health, port = served
    request = health_pb2.HealthCheckRequest(service="later")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(10):
        stub = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Check(request)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(request)
        assert (await watch.read()).status == Response.SERVICE_UNKNOWN
        health.set({"later": Response.SERVING})
        assert (await watch.read()).status == Response.SERVING
        watch.cancel()


async def test_from_a_stop_on_nothing_serves(served: tuple[HealthService, int]) -> None:
    """Watchers learn it, and a later change has no effect."""
    health, port = served
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(10):
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == Response.SERVING
        health.stop()
        assert (await watch.read()).status == Response.NOT_SERVING
        health.set({"": Response.SERVING})
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == Response.NOT_SERVING
        watch.cancel()
