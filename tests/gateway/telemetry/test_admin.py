"""Slow clients of the admin listener are disconnected, and do not delay others."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import aiohttp
import pytest

from gateway.config import Listen
from gateway.server.listening import listening_sockets
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
    sockets = await listening_sockets(Listen("127.0.0.1", 0), "admin")
    await server.start(sockets)
    port = sockets[0].getsockname()[1]
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


async def test_a_new_connection_takes_the_place_of_the_oldest_idle_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many silent connections there are, a probe is answered, and no more than the maximum stay open."""
    monkeypatch.setattr(admin, "IDLE_S", 600)
    async with serving() as (server, port):
        silent = []
        for number in range(25):
            silent.append(await asyncio.open_connection("127.0.0.1", port))
            open_now = min(number + 1, 5)
            await until(partial(lambda expected: server.connections == expected, open_now))
        assert await healthy(port)
        async with asyncio.timeout(30):
            for reader, _ in silent[:20]:
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
        assert not any(reader.at_eof() for reader, _ in silent[21:])
        for _, each in silent:
            each.close()


async def test_a_request_that_is_served_keeps_its_connection() -> None:
    """A slow /readyz is answered while newer silent connections lose their places."""
    may_answer, asked = asyncio.Event(), asyncio.Event()

    async def slow() -> tuple[str, ...]:
        asked.set()
        await may_answer.wait()
        return ()

    server = AdminServer(Metrics(), slow)
    sockets = await listening_sockets(Listen("127.0.0.1", 0), "admin")
    await server.start(sockets)
    port = sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(30):
        await asked.wait()
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        may_answer.set()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    for _, each in (*silent, (reader, writer)):
        each.close()
    await server.stop()
