"""What is not HTTP, and does not end: it is answered once, and costs nothing behind that."""

import asyncio
import gc
import socket
import tracemalloc
from contextlib import suppress
from pathlib import Path

import uvloop

from tests.gateway.callbacks.harness import open_house

MIB = 1024 * 1024
STRANGER = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ROUNDS = 4


def flood(port: int) -> bytes:
    """Ask for what is not there, then send far more than the system takes at once; answers what was said to it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as caller:
        caller.sendall(STRANGER)
        said = caller.recv(65536)
        with suppress(OSError):
            caller.sendall(bytes(16 * MIB))
        with suppress(OSError):
            said += caller.recv(65536)
        return said


async def kept(folder: Path) -> int:
    """Bytes that connections leave behind, as long as nobody looks for garbage."""
    async with open_house(folder) as house:
        await asyncio.to_thread(flood, house.port)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(ROUNDS):
            assert (await asyncio.to_thread(flood, house.port)).startswith(b"HTTP/1.1 404")
        while house.server.connections:  # noqa: ASYNC110 - it goes by itself
            await asyncio.sleep(0.01)
        return tracemalloc.get_traced_memory()[0] - before


def test_a_flood_of_garbage_is_not_kept(tmp_path: Path) -> None:
    """On the gateway's own loop, which reads many pieces in one turn: none of them stays in memory."""
    gc.disable()
    tracemalloc.start()
    try:
        assert uvloop.run(kept(tmp_path)) < ROUNDS * MIB
    finally:
        tracemalloc.stop()
        gc.enable()
