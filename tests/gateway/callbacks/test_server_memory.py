"""Input that is not HTTP gets one reply, and is not bytes_kept in memory."""

import asyncio
import gc
import socket
import tracemalloc
from contextlib import suppress
from pathlib import Path

import uvloop

from tests.gateway.callbacks.harness import open_harness

MIB = 1024 * 1024
UNKNOWN_PATH = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ROUNDS = 4


def flood(port: int) -> bytes:
    """Request an unknown path, then send far more than the system buffers; return the reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as caller:
        caller.sendall(UNKNOWN_PATH)
        reply = caller.recv(65536)
        with suppress(OSError):
            caller.sendall(bytes(16 * MIB))
        with suppress(OSError):
            reply += caller.recv(65536)
        return reply


async def bytes_kept(folder: Path) -> int:
    """Bytes that connections leave behind without garbage collection."""
    async with open_harness(folder) as harness:
        await asyncio.to_thread(flood, harness.port)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(ROUNDS):
            assert (await asyncio.to_thread(flood, harness.port)).startswith(b"HTTP/1.1 404")
        while harness.server.connections:  # noqa: ASYNC110 - nothing reports it
            await asyncio.sleep(0.01)
        return tracemalloc.get_traced_memory()[0] - before


def test_a_flood_of_garbage_is_not_kept(tmp_path: Path) -> None:
    """On uvloop, which reads many pieces in one turn, none of them stays in memory."""
    gc.disable()
    tracemalloc.start()
    try:
        assert uvloop.run(bytes_kept(tmp_path)) < ROUNDS * MIB
    finally:
        tracemalloc.stop()
        gc.enable()
