"""The listener accepts as long as anything can make room."""

import asyncio
import json
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.callbacks.server import ConnectionLimits
from tests.gateway.callbacks.harness import EXPIRED, MONACO, HarnessOptions, open_harness
from tests.support.waiting import until

BODY = json.dumps(EXPIRED).encode()


@contextmanager
def no_files_left() -> Iterator[None]:
    """The process can open no file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    filling: list[int] = []
    try:
        with open(os.devnull) as file:  # noqa: PTH123 - its descriptor is what counts
            try:
                while True:
                    filling.append(os.dup(file.fileno()))
            except OSError:
                yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in filling:
            os.close(descriptor)


async def test_a_connection_without_a_file_takes_that_of_a_silent_one(tmp_path: Path) -> None:
    """When the process can open no more files, the oldest unauthenticated one is closed, and accepting goes on."""
    options = HarnessOptions(limits=ConnectionLimits(receive_s=3600))
    async with open_harness(tmp_path, options) as harness, harness.connect() as (silent, _), asyncio.timeout(30):
        await until(lambda: harness.server.connections)
        with socket.socket() as connection:
            connection.setblocking(False)
            with no_files_left():
                loop = asyncio.get_running_loop()
                await loop.sock_connect(connection, ("127.0.0.1", harness.port))
                request = f"POST {MONACO.path('SessionExpired')} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                await loop.sock_sendall(connection, f"{request}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
                assert (await loop.sock_recv(connection, 100)).startswith(b"HTTP/1.1 200 ")
        assert await silent.read() == b""
