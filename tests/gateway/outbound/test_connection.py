"""A connection whose other end has gone is known before anything is written to it."""

import asyncio
import select
import socket
import struct

import pytest

from gateway.outbound.client import ExchangeFault
from gateway.outbound.connection import Connection
from tests.gateway.outbound.calling import client, failure
from tests.gateway.outbound.raw_provider import Peer, raw_provider


@pytest.mark.parametrize("linger_s", [None, 0], ids=["FIN", "RST"])
async def test_an_end_that_nobody_has_read_yet_is_seen(linger_s: int | None) -> None:
    """A provider that hangs up as soon as it is connected to was sent nothing, and that is what callers are told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(1024, lambda _: None), *listener.getsockname()[:2]
        )
        assert connection.is_connected()
        accepted, _ = listener.accept()
        if linger_s is not None:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, linger_s))
        accepted.close()
        told = select.poll()
        told.register(connection._transport.get_extra_info("socket").fileno(), select.POLLIN)
        assert told.poll(5000), "the system has not heard of it"  # and our event loop has not run since
        assert connection.open
        assert not connection.is_connected()
        connection.abort()


async def test_nothing_is_written_to_a_connection_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh one whose other end is gone already is as if there were none: the call is told NOT_SENT."""
    monkeypatch.setattr(Connection, "is_connected", lambda _: False)

    async def take_whatever_comes(peer: Peer) -> None:
        await peer.hang()

    async with raw_provider(take_whatever_comes) as provided, client(provided.base_url, connections=1) as c:
        for _ in range(2):  # and its place is free again
            failed = await failure(c)
            assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
