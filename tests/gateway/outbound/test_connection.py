"""A connection whose peer has closed it is detected before anything is written to it."""

import asyncio
import select
import socket
import struct

import pytest

from gateway.outbound.client import ExchangeFault
from gateway.outbound.connection import Connection
from tests.gateway.outbound.harness import client, failure
from tests.gateway.outbound.raw_provider import Peer, raw_provider


@pytest.mark.parametrize("linger_s", [None, 0], ids=["FIN", "RST"])
async def test_an_unread_end_is_detected(linger_s: int | None) -> None:
    """`is_connected` asks the system: the event loop may not know yet that the peer has closed the connection."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, listener.getsockname())
        _, connection = await loop.create_connection(lambda: Connection(1024, lambda _: None), sock=sock)
        assert connection.is_connected()
        accepted, _ = listener.accept()
        if linger_s is not None:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, linger_s))
        accepted.close()
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        assert poll.poll(60_000), "the system does not report the end"  # the event loop does not run meanwhile
        assert connection.open
        assert not connection.is_connected()
        connection.abort()


async def test_nothing_is_written_to_a_closed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new connection that is closed already counts as none: the call is NOT_SENT, and its slot is free again."""
    monkeypatch.setattr(Connection, "is_connected", lambda _: False)

    async def read_everything(peer: Peer) -> None:
        await peer.hang()

    async with raw_provider(read_everything) as provided, client(provided.base_url, connections=1) as c:
        for _ in range(2):
            failed = await failure(c)
            assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
