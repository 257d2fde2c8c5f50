"""Over TLS an exchange is what it is without, with a provider that has proved its name."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from gateway.outbound import connection_pool as pools
from gateway.outbound.client import ExchangeFault
from gateway.outbound.connection_pool import made_tls_context
from tests.gateway.outbound.calling import client, exchange, failure
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider

AUTHORITY, STRANGER = trustme.CA(), trustme.CA()


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The system trusts one authority."""
    file = tmp_path / "authorities.pem"
    AUTHORITY.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    made_tls_context.cache_clear()
    yield
    made_tls_context.cache_clear()


def proving(*names: str, by: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    """How a provider proves that these names are its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    by.issue_cert(*names).configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def test_exchanges_share_a_connection_that_speaks_http_1() -> None:
    """A handshake serves many exchanges, and a provider that could speak HTTP/2 is asked for HTTP/1.1."""
    spoken = set()

    async def provider(peer: Peer) -> None:
        tls: ssl.SSLObject = peer.writer.get_extra_info("ssl_object")
        spoken.add(tls.selected_alpn_protocol())
        while asked := await peer.request():
            await peer.send(answer(asked[-2:] + b"x" * 100_000))

    async with raw_provider(provider, proving("localhost")) as provided:
        async with client(f"https://localhost:{provided.port}", max_answer_bytes=200_000) as c:
            for _ in range(3):
                assert (await exchange(c)).body == b"}}" + b"x" * 100_000
        assert (provided.connections, spoken) == (1, {"http/1.1"})


async def test_a_connection_that_the_provider_ends_is_not_asked_again() -> None:
    """A provider that says goodbye behind its answer is reached over another connection, and nothing is lost."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())

    async with raw_provider(provider, proving("127.0.0.1")) as provided, client(provided.base_url) as c:
        for number in range(1, 6):
            await exchange(c)
            assert (provided.connections, len(provided.requests)) == (number, number)
            await asyncio.sleep(0)


async def test_an_address_can_be_proved_too() -> None:
    """A base URL with an address is held against the addresses in the certificate."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())

    async with raw_provider(provider, proving("127.0.0.1")) as provided, client(provided.base_url) as c:
        assert (await exchange(c)).status == 200


@pytest.mark.parametrize(
    ("proof", "words"),
    [
        (proving("localhost", by=STRANGER), "unable to get local issuer certificate"),
        (proving("provider.example"), "not valid for 'localhost'"),
    ],
    ids=["by a stranger", "for another name"],
)
async def test_a_certificate_that_proves_nothing_is_not_accepted(proof: ssl.SSLContext, words: str) -> None:
    """Who cannot prove the name in base_url gets nothing, and the error says what is wrong with the certificate."""

    async def provider(peer: Peer) -> None:
        await peer.request()

    async with raw_provider(provider, proof) as provided:
        async with client(f"https://localhost:{provided.port}") as c:
            failed = await failure(c)
        assert (failed.fault, failed.sent, provided.requests) == (ExchangeFault.UNREACHABLE, False, [])
    assert "its TLS certificate is not accepted" in failed.detail
    assert words in failed.detail


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("framed", [True, False])
async def test_an_answer_that_is_cut_off_is_lost(framed: bool, reset: bool) -> None:
    """A connection that is broken off below TLS completes no answer, not even one that ends with its connection."""
    length = b"Content-Length: 20\r\n" if framed else b""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n" + length + b'\r\n{"error":0,')
        if reset:
            peer.reset()
        peer.writer.transport.abort()

    async with raw_provider(provider, proving("127.0.0.1")) as provided, client(provided.base_url) as c:
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.CONNECTION_LOST, True)


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """A provider that says goodbye as TLS wants it has said all."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n{}")

    async with raw_provider(provider, proving("127.0.0.1")) as provided, client(provided.base_url) as c:
        assert (await exchange(c)).body == b"{}"


async def test_who_gives_up_before_the_authorities_are_read_has_opened_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket is left to nobody."""
    never = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(pools, "load_ssl_context", lambda: never)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        async with client(f"https://127.0.0.1:{listening.getsockname()[1]}", connect_timeout_s=0.05) as c:
            assert (await failure(c)).fault is ExchangeFault.UNREACHABLE
        with pytest.raises(BlockingIOError):
            listening.accept()
