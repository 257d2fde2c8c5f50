"""Where an exchange fails before its first byte, that is what it says: nothing was sent, and nothing arrived."""

import asyncio
import errno
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapters.contract import HttpRequest
from gateway.outbound.client import Endpoint, ExchangeFault, ProviderClient
from gateway.outbound.connection import Connection
from gateway.outbound.connection_pool import ConnectionPool
from gateway.outbound.deadline import Deadline
from tests.gateway.outbound.calling import CLOSE, ENOUGH, SECRET, SOON, client, exchange, failure
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


async def test_a_closed_port_is_unreachable() -> None:
    """Where nobody listens nothing was sent, and the error names the place and what to do."""
    port = free_port()
    async with client(f"http://127.0.0.1:{port}") as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
    assert f"127.0.0.1:{port}" in failed.detail
    assert "check base_url" in failed.detail


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    """A name that nobody knows is as good as a closed port."""
    async with client("http://provider.invalid") as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)


@asynccontextmanager
async def full_backlog() -> AsyncIterator[int]:
    """A port where connecting takes for ever: it listens, its backlog is full and it never accepts."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        pending = []
        for filler in fillers:
            filler.setblocking(False)
            pending.append(loop.create_task(loop.sock_connect(filler, listening.getsockname())))
        await asyncio.wait(pending, timeout=SOON)
        try:
            yield listening.getsockname()[1]
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            for filler in fillers:
                filler.close()


async def test_connecting_has_a_time_limit_of_its_own() -> None:
    """A connection that does not come about is given up after the connect time-out, long before the deadline."""
    async with full_backlog() as port, client(f"http://127.0.0.1:{port}", connect_timeout_s=SOON) as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
    assert "0.3 s" in failed.detail


async def test_a_deadline_while_connecting_means_that_nothing_was_sent() -> None:
    """A deadline that passes before there is a connection is no time-out of the provider."""
    async with full_backlog() as port, client(f"http://127.0.0.1:{port}") as c:
        failed = await failure(c, seconds=SOON)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)


@pytest.mark.parametrize("connect_timeout_s", [SOON, ENOUGH])
async def test_a_tls_handshake_that_never_comes_means_that_nothing_was_sent(connect_timeout_s: float) -> None:
    """Until TLS stands not one byte of the request leaves, whichever of the two limits ends the wait."""
    received = bytearray()

    async def provider(peer: Peer) -> None:
        while data := await peer.reader.read(4096):
            received.extend(data)

    async with raw_provider(provider) as provided:
        async with client(f"https://127.0.0.1:{provided.port}", connect_timeout_s=connect_timeout_s) as c:
            failed = await failure(c, seconds=ENOUGH if connect_timeout_s == SOON else SOON)
        assert received, "the handshake was begun"
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
    assert SECRET.encode() not in received


async def test_a_provider_that_speaks_no_tls_is_unreachable() -> None:
    """A handshake that fails means that nothing was sent."""

    async def provider(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(answer())

    async with raw_provider(provider) as provided, client(f"https://127.0.0.1:{provided.port}") as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "Connection timed out; check base_url"),
        (ValueError("server_hostname cannot start with a dot"), r"no usable connection \(ValueError\)"),
    ],
)
async def test_what_ends_connecting_is_told(monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    """A time-out of the system's is not taken for one of ours, and an odd failure to connect is no bug."""

    async def take(_: ConnectionPool) -> Connection:
        raise error

    monkeypatch.setattr(ConnectionPool, "take", take)
    async with client("http://127.0.0.1:1") as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
    assert re.search(words, failed.detail)


async def test_waiting_for_a_free_connection_counts_as_connecting() -> None:
    """A call that gets no connection out of the pool in time was not sent."""
    asked = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.hang()

    async with raw_provider(provider) as provided:
        async with client(provided.base_url, connections=1, connect_timeout_s=SOON) as c:
            first = asyncio.get_running_loop().create_task(exchange(c))
            await asked.wait()
            failed = await failure(c)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
        assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
        assert "1 included" in failed.detail
        assert len(provided.requests) == 1


async def test_a_deadline_that_has_passed_sends_nothing() -> None:
    """With no time left nothing is sent, even where a connection is at hand."""

    async def provider(peer: Peer) -> None:
        while await peer.request():
            await peer.send(answer())

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        await exchange(c)
        failed = await failure(c, seconds=0)
        assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
        assert len(provided.requests) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "localhost"])
async def test_private_addresses_are_refused(host: str) -> None:
    """A literal and a name that resolve to this machine are refused before anything connects, saying what to set."""

    async def provider(peer: Peer) -> None:
        await peer.hang()

    async with raw_provider(provider) as provided:
        c = ProviderClient(Endpoint("acme", f"http://{host}:{provided.port}"))
        await c.start()
        try:
            failed = await failure(c)
        finally:
            await c.close()
        assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
        assert "allow_private_addresses = true" in failed.detail
        assert provided.connections == 0


async def test_a_request_that_http_cannot_carry_is_an_error_of_ours() -> None:
    """A header with a line break is refused as a bug, before anything connects."""
    async with client(f"http://127.0.0.1:{free_port()}") as c:
        with pytest.raises(ValueError, match="header 'X'"):
            await exchange(c, HttpRequest("POST", "/x", headers=(("X", "a\r\nb"),)))


async def test_a_client_that_was_not_started_says_so() -> None:
    """Using a client before start is a bug, and is told as one."""
    with pytest.raises(RuntimeError, match="acme"):
        await ProviderClient(Endpoint("acme", "https://p.example")).send(CLOSE, Deadline.after(ENOUGH))
