"""Whoever asks after the gateway slowly is cut off, and stands in nobody's way."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from gateway.telemetry import admin
from gateway.telemetry.admin import AdminServer
from gateway.telemetry.metrics import Metrics
from tests.support.waiting import until


async def nothing() -> tuple[str, ...]:
    return ()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "IDLE_S", 0.4)
    monkeypatch.setattr(admin, "SEND_TIMEOUT_S", 0.4)
    monkeypatch.setattr(admin, "CONNECTIONS", 5)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[AdminServer, int]]:
    server = AdminServer(Metrics(), nothing)
    port = await server.start("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await server.stop()


async def healthy(port: int) -> bool:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/healthz") as response:
        return response.status == 200


def held(server: AdminServer) -> int:
    http = server._runner.server
    assert http is not None
    return len(http.connections)


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /heal",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_who_says_no_more_is_hung_up_on(begun: bytes) -> None:
    """Wherever it stops; dripping is no better."""
    async with serving() as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        gone = asyncio.create_task(reader.read())
        async with asyncio.timeout(10):
            while not (await asyncio.wait({gone}, timeout=0.05))[0]:
                if not begun.endswith(b"\r\n\r\n"):
                    writer.write(b"x")
        writer.close()
        await asyncio.gather(gone, return_exceptions=True)
        await until(lambda: not held(server))


@pytest.mark.skipif(sys.platform != "linux", reason="the system sees to it on Linux")
async def test_who_takes_no_answer_is_hung_up_on() -> None:
    """It asks on and on and reads nothing."""
    async with serving() as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
        asked = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100
        await until(lambda: held(server) == 1)
        async with asyncio.timeout(20):
            while held(server):
                if not writer.transport.get_write_buffer_size():  # the gateway takes more
                    writer.write(asked)
                await asyncio.sleep(0.01)
        writer.transport.abort()


async def test_connections_are_bounded() -> None:
    """One too many is closed as it comes; there is room when the others have gone."""
    async with serving() as (server, port):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        await until(lambda: held(server) == 5)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        assert held(server) == 5
        await until(lambda: not held(server))
        assert await healthy(port)
        for _, each in (*silent, (reader, writer)):
            each.close()
