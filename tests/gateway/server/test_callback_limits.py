"""The callback listener has the configured limits."""

import asyncio
from pathlib import Path

from adapters.registry import find
from gateway.config import load
from gateway.server.gateway import Gateway
from tests.support.gateway import configuration, family_table


async def test_callback_connections_are_limited(tmp_path: Path) -> None:
    """A connection above max_connections replaces a silent one, and is closed after receive_timeout_s."""
    path = configuration(tmp_path, family_table("lucky", "luckymonaco", "http://127.0.0.1:9"))
    keys = "[callbacks]\nmax_connections = 1\nreceive_timeout_s = 0.5\n"
    path.write_text(path.read_text().replace("[callbacks]\n", keys))
    gateway = Gateway(load(path, {}), find())
    host, port = (await gateway.start()).callbacks.split(":")
    try:
        async with asyncio.timeout(60):
            first, first_writer = await asyncio.open_connection(host, int(port))
            second, second_writer = await asyncio.open_connection(host, int(port))
            assert await second.read() == b""
            assert await first.read() == b""
            third, third_writer = await asyncio.open_connection(host, int(port))
            third_writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await third.readline()).startswith(b"HTTP/1.1 404")
        for writer in (first_writer, second_writer, third_writer):
            writer.close()
    finally:
        await gateway.stop()
