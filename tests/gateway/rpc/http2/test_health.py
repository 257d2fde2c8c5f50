"""Health over the second front end, where one of its watchers takes nothing of what it is sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from gateway.rpc.http2 import call, frames
from gateway.rpc.http2.frames import Setting, frame
from gateway.rpc.http2.server import Http2Server
from gateway.rpc.server import RpcServer
from tests.gateway.rpc.http2.peer import connected, head

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def stuck_watcher(port: int) -> AsyncIterator[None]:
    """Watches the health of the whole, has no room for an answer, and is served so far."""
    watch = frame(frames.HEADERS, frames.END_HEADERS, 1, head("/grpc.health.v1.Health/Watch"))
    async with connected(port, frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 0})) as peer:
        peer.writer.write(watch + frame(frames.DATA, frames.END_STREAM, 1, b"\0\0\0\0\0"))
        await peer.until(frames.HEADERS)
        yield


async def test_a_watcher_that_takes_nothing_holds_up_no_other() -> None:
    """Others are told that the health has changed."""
    server, servicer = Http2Server(), health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.bind("127.0.0.1", 0)
    await server.start()
    async with stuck_watcher(port), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(5):
        for status in (NOT_SERVING, SERVING, NOT_SERVING):
            await servicer.set("", status)
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert answer.status == status
    await server.stop(0)


async def test_a_watcher_that_takes_nothing_does_not_hold_up_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping ends it, also where nothing waits for it any more without its handler."""
    monkeypatch.setattr(call, "UNSENT_BYTES", 0)
    server = RpcServer((), lean=True)
    port = await server.start("127.0.0.1", 0, None)
    async with stuck_watcher(port), asyncio.timeout(5):
        await server.stop(1)
