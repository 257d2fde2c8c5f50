"""Exchanges over TLS, with a provider whose certificate is valid for its name."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from gateway.outbound import connection_pool as pools
from gateway.outbound.client import ExchangeFault
from gateway.outbound.tls import create_tls_context
from tests.gateway.outbound.harness import client, exchange, failure
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider

AUTHORITY, OTHER_AUTHORITY = trustme.CA(), trustme.CA()


@pytest.fixture(autouse=True)
def system_authorities(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The system trusts one authority."""
    file = tmp_path / "authorities.pem"
    AUTHORITY.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    create_tls_context.cache_clear()
    yield
    create_tls_context.cache_clear()


def server_context(*names: str, by: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    """The TLS settings of a provider whose certificate has these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    by.issue_cert(*names).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def test_exchanges_share_a_connection_that_speaks_http_1() -> None:
    """One handshake serves many exchanges, and HTTP/1.1 is negotiated also where the provider supports HTTP/2."""
    protocols = set()

    async def provider(peer: Peer) -> None:
        tls: ssl.SSLObject = peer.writer.get_extra_info("ssl_object")
        protocols.add(tls.selected_alpn_protocol())
        while request := await peer.request():
            await peer.send(answer(request[-2:] + b"x" * 100_000))

    async with raw_provider(provider, server_context("localhost")) as provided:
        async with client(f"https://localhost:{provided.port}", max_answer_bytes=200_000) as c:
            for _ in range(3):
                assert (await exchange(c)).body == b"}}" + b"x" * 100_000
        assert (provided.connections, protocols) == (1, {"http/1.1"})


async def test_a_connection_that_the_provider_closes_is_not_reused() -> None:
    """Where it closes after each answer, each request uses another connection, and none is lost."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())

    async with raw_provider(provider, server_context("127.0.0.1")) as provided, client(provided.base_url) as c:
        for number in range(1, 6):
            await exchange(c)
            assert (provided.connections, len(provided.requests)) == (number, number)
            await asyncio.sleep(0)


async def test_a_certificate_may_name_an_address() -> None:
    """A base URL with an address is checked against the addresses in the certificate."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())

    async with raw_provider(provider, server_context("127.0.0.1")) as provided, client(provided.base_url) as c:
        assert (await exchange(c)).status == 200


@pytest.mark.parametrize(
    ("context", "words"),
    [
        (server_context("localhost", by=OTHER_AUTHORITY), "unable to get local issuer certificate"),
        (server_context("provider.example"), "not valid for 'localhost'"),
    ],
    ids=["unknown authority", "other name"],
)
async def test_an_invalid_certificate_is_rejected(context: ssl.SSLContext, words: str) -> None:
    """Nothing is sent, and the error says what is wrong with the certificate."""

    async def provider(peer: Peer) -> None:
        await peer.request()

    async with raw_provider(provider, context) as provided:
        async with client(f"https://localhost:{provided.port}") as c:
            failed = await failure(c)
        assert (failed.fault, failed.sent, provided.requests) == (ExchangeFault.UNREACHABLE, False, [])
    assert "its TLS certificate is not accepted" in failed.detail
    assert words in failed.detail


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("framed", [True, False])
async def test_an_answer_that_is_cut_off_is_lost(framed: bool, reset: bool) -> None:
    """A connection that is cut off below TLS completes no answer, not even one without a length."""
    length = b"Content-Length: 20\r\n" if framed else b""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n" + length + b'\r\n{"error":0,')
        if reset:
            peer.reset()
        peer.writer.transport.abort()

    async with raw_provider(provider, server_context("127.0.0.1")) as provided, client(provided.base_url) as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.CONNECTION_LOST, True)


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """TLS's close_notify completes it."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n{}")

    async with raw_provider(provider, server_context("127.0.0.1")) as provided, client(provided.base_url) as c:
        assert (await exchange(c)).body == b"{}"


async def test_a_timeout_before_the_authorities_are_read_opens_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The TLS settings are ready before a socket is opened."""
    never = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(pools, "load_ssl_context", lambda: never)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        async with client(f"https://127.0.0.1:{listening.getsockname()[1]}", connect_timeout_s=0.05) as c:
            assert (await failure(c)).fault is ExchangeFault.UNREACHABLE
        with pytest.raises(BlockingIOError):
            listening.accept()
