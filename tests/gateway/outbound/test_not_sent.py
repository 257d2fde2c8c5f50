"""An exchange that fails before its first byte reports that nothing was sent."""

import asyncio
import errno
import re

import pytest

from adapters.contract import HttpRequest
from gateway.outbound.client import Endpoint, ExchangeFault, ProviderClient
from gateway.outbound.connection import Connection
from gateway.outbound.connection_pool import ConnectionPool
from gateway.outbound.deadline import Deadline
from gateway.outbound.tls import load_ssl_context
from tests.gateway.outbound.harness import (
    CLOSE,
    LONG,
    SECRET,
    SHORT,
    client,
    exchange,
    failure,
    failure_at,
    free_port,
    full_backlog,
)
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider


async def test_a_closed_port_is_unreachable() -> None:
    """Nothing was sent, and the error names the address and what to do."""
    port = free_port()
    async with client(f"http://127.0.0.1:{port}") as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
    assert f"127.0.0.1:{port}" in failed.detail
    assert "check base_url" in failed.detail


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    """An unknown name is reported like a closed port."""
    async with client("http://provider.invalid") as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)


async def test_connecting_has_a_separate_timeout() -> None:
    """It ends the attempt to connect long before the deadline."""
    async with full_backlog() as port, client(f"http://127.0.0.1:{port}", connect_timeout_s=SHORT) as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
    assert "0.3 s" in failed.detail


async def test_a_deadline_while_connecting_means_not_sent() -> None:
    """It is not reported as a timeout of the provider."""
    async with full_backlog() as port, client(f"http://127.0.0.1:{port}") as c:
        failed = await failure(c, seconds=SHORT)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)


@pytest.mark.parametrize("connect_timeout_s", [1.0, LONG], ids=["connect timeout", "deadline"])
async def test_a_hanging_tls_handshake_means_not_sent(connect_timeout_s: float) -> None:
    """No byte of the request is sent before it ends, whether the connect timeout or the deadline ends the wait."""
    received, begun = bytearray(), asyncio.Event()

    async def provider(peer: Peer) -> None:
        while data := await peer.reader.read(4096):
            received.extend(data)
            begun.set()

    await load_ssl_context()  # its time does not count

    async with raw_provider(provider) as provided:
        async with client(f"https://127.0.0.1:{provided.port}", connect_timeout_s=connect_timeout_s) as c:
            failed = await (failure_at(c, begun) if connect_timeout_s == LONG else failure(c))
        assert received, "the handshake was begun"
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
    assert SECRET.encode() not in received


async def test_a_provider_without_tls_is_unreachable() -> None:
    """A failed handshake means that nothing was sent."""

    async def provider(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(answer())

    async with raw_provider(provider) as provided, client(f"https://127.0.0.1:{provided.port}") as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), "Connection timed out; check base_url"),
        (ValueError("server_hostname cannot start with a dot"), r"no usable connection \(ValueError\)"),
    ],
)
async def test_a_connect_error_is_reported(monkeypatch: pytest.MonkeyPatch, error: Exception, text: str) -> None:
    """A timeout by the system is not reported as the gateway's, and an unusual error is not a bug."""

    async def acquire(_: ConnectionPool) -> Connection:
        raise error

    monkeypatch.setattr(ConnectionPool, "acquire", acquire)
    async with client("http://127.0.0.1:1") as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
    assert re.search(text, failed.detail)


async def test_waiting_for_a_free_connection_counts_as_connecting() -> None:
    """A call that does not get a connection from the pool in time was not sent."""
    asked = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.hang()

    async with raw_provider(provider) as provided:
        async with client(provided.base_url, connections=1, connect_timeout_s=SHORT) as c:
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
    """This is so also where an idle connection exists."""

    async def provider(peer: Peer) -> None:
        while await peer.request():
            await peer.send(answer())

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        await exchange(c)
        failed = await failure(c, seconds=0)
        assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
        assert len(provided.requests) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "localhost"])
async def test_private_addresses_are_rejected(host: str) -> None:
    """Addresses and names of this host are rejected before connecting, and the error says what to configure."""

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


async def test_a_request_that_http_cannot_represent_raises_value_error() -> None:
    """A header with a line break is a bug, and is rejected before connecting."""
    async with client(f"http://127.0.0.1:{free_port()}") as c:
        with pytest.raises(ValueError, match="header 'X'"):
            await exchange(c, HttpRequest("POST", "/x", headers=(("X", "a\r\nb"),)))


async def test_a_client_that_is_not_started_raises_runtime_error() -> None:
    """The error names the provider."""
    with pytest.raises(RuntimeError, match="acme"):
        await ProviderClient(Endpoint("acme", "https://p.example")).send(CLOSE, Deadline.after(LONG))
