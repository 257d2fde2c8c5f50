"""Slow clients of the admin listener are disconnected, and do not delay others."""

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


async def no_problems() -> tuple[str, ...]:
    return ()


@pytest.fixture(autouse=True)
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "IDLE_S", 0.4)
    monkeypatch.setattr(admin, "SEND_TIMEOUT_S", 0.4)
    monkeypatch.setattr(admin, "CONNECTIONS", 5)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[AdminServer, int]]:
    server = AdminServer(Metrics(), no_problems)
    port = await server.start("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await server.stop()


async def healthy(port: int) -> bool:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/healthz") as response:
        return response.status == 200


@pytest.mark.parametrize(
    "request_part",
    [
        b"",
        b"GET /heal",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_an_incomplete_request_is_disconnected(request_part: bytes) -> None:
    """Wherever it stops, and also where it continues byte by byte."""
    async with serving() as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_part)
        closed = asyncio.create_task(reader.read())
        async with asyncio.timeout(30):
            while not (await asyncio.wait({closed}, timeout=0.05))[0]:
                if not request_part.endswith(b"\r\n\r\n"):
                    writer.write(b"x")
        writer.close()
        await asyncio.gather(closed, return_exceptions=True)
        await until(lambda: not server.connections)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel enforces it on Linux")
async def test_a_client_that_does_not_read_is_disconnected() -> None:
    """It sends requests and reads no answer."""
    async with serving() as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
        requests = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 100
        await until(lambda: server.connections == 1)
        async with asyncio.timeout(60):
            while server.connections:
                if not writer.transport.get_write_buffer_size():  # the gateway reads more
                    writer.write(requests)
                await asyncio.sleep(0.01)
        writer.transport.abort()


async def test_connections_are_bounded() -> None:
    """Connections above the maximum are closed; new ones are accepted once the others have ended."""
    async with serving() as (server, port):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        await until(lambda: server.connections == 5)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 30) == b""
        assert server.connections == 5
        await until(lambda: not server.connections)
        assert await healthy(port)
        for _, each in (*silent, (reader, writer)):
            each.close()
