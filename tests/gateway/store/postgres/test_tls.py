"""TLS to the server: the default for one that is not local, and no password without it."""

import asyncio
import datetime as dt
import os
import pty
import signal
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.config import ClientTls
from gateway.store import factory
from gateway.store.base import StoreUnavailable
from gateway.store.models import Applied
from gateway.store.postgres import PostgresStore
from gateway.store.postgres.tls import client_context
from gateway.store.postgres_url import SslMode
from tests.gateway.store.postgres.inside import value
from tests.gateway.store.postgres.tls_front import HOST, client_tls, tls_front
from tests.gateway.store.samples import cash, deliver, opened, posting
from tests.support.postgres import PostgresServer
from tests.support.waiting import until

PASSWORD = "hunter2"

BROKEN = "TLS with the server failed|connection to it broke|connection to the server broke"
"""A server may reject a certificate after the client's handshake."""


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    """All names below .example lead here, as if to a host that is not local."""
    resolve = socket.getaddrinfo

    def resolved(host: Any, *args: Any, **kwargs: Any) -> Any:
        here = "127.0.0.1" if str(host).endswith(".example") else host
        return resolve(here, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


async def rejected(url: str, says: str, tls: ClientTls | None = None) -> None:
    """Every part that connects says so, and never the password."""
    looks = (
        PostgresStore(url, tls=tls).open,
        lambda: factory.stored_money_providers(url, tls),
        lambda: factory.audit_kept(url, tls),
        lambda: factory.migrate(url, tls),
    )
    for look in looks:
        with pytest.raises(StoreUnavailable, match=says) as caught:
            await look()
        assert PASSWORD not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize("options", ["", "?sslmode=require", "?sslmode=verify-full"])
async def test_a_server_without_tls_is_sent_nothing(options: str) -> None:
    """A server that answers a request for TLS with no receives neither a password nor a startup message."""
    async with tls_front() as server:
        await rejected(
            f"postgresql://u:{PASSWORD}@{HOST}:{server.port}/gateway{options}", "has no TLS, and nothing was sent"
        )
        await until(lambda: not server.open)
        assert server.requests == 4
        assert server.received == b""


async def test_no_tls_must_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only sslmode=disable connects to a host that is not local without TLS; the environment changes nothing."""
    monkeypatch.setenv("PGSSLMODE", "disable")
    async with tls_front() as server:
        await rejected(f"postgresql://u:{PASSWORD}@{HOST}:{server.port}/gateway", "has no TLS")
        assert server.received == b""
        url = f"postgresql://u:{PASSWORD}@{HOST}:{server.port}/gateway?sslmode=disable"
        opening = asyncio.create_task(PostgresStore(url).open())
        await until(lambda: b"user\0u\0" in server.received)
        opening.cancel()


@pytest.mark.parametrize(
    ("by", "name", "expires", "says"),
    [
        ("another", HOST, 2099, "of no authority that is trusted"),
        ("ours", "other.example", 2099, "is for another name"),
        ("ours", HOST, 2020, "has expired"),
    ],
)
async def test_a_server_with_a_wrong_certificate_is_sent_nothing(
    tmp_path: Path, by: str, name: str, expires: int, says: str
) -> None:
    """A certificate of another authority, for another name or of the past ends the connection before the password."""
    ours = trustme.CA()
    authority = ours if by == "ours" else trustme.CA()
    certificate = authority.issue_cert(name, not_after=dt.datetime(expires, 1, 1, tzinfo=dt.UTC))
    async with tls_front(certificate) as server:
        url = f"postgresql://u:{PASSWORD}@{HOST}:{server.port}/gateway"
        await rejected(url, says, client_tls(tmp_path, ours))
        await until(lambda: not server.open)
        assert server.requests == 4
        assert server.received == b""


async def test_the_systems_authorities_are_the_default() -> None:
    """Without a ca, a server whose certificate no public authority signed is sent nothing."""
    async with tls_front(trustme.CA().issue_cert(HOST)) as server:
        await rejected(f"postgresql://u:{PASSWORD}@{HOST}:{server.port}/gateway", "no authority that is trusted")
        assert server.received == b""


async def test_what_is_not_verified_is_as_the_url_says(tmp_path: Path) -> None:
    """verify-ca takes another name, and require any certificate; both send the startup message encrypted."""
    authority = trustme.CA()
    async with tls_front(authority.issue_cert("other.example")) as server:
        for mode, tls in (("verify-ca", client_tls(tmp_path, authority)), ("require", None)):
            server.received.clear()
            url = f"postgresql://u:{PASSWORD}@{HOST}:{server.port}/gateway?sslmode={mode}"
            opening = asyncio.create_task(PostgresStore(url, tls=tls).open())
            await until(lambda: b"user\0u\0" in server.received)
            opening.cancel()


async def test_a_gateway_works_over_tls(tmp_path: Path, postgres: PostgresServer) -> None:
    """With the authority's certificate everything works, and every connection is encrypted."""
    authority = trustme.CA()
    tls, name = client_tls(tmp_path, authority), await postgres.create()
    async with tls_front(authority.issue_cert(HOST), postgres) as server:
        url = f"postgresql://gateway:{PASSWORD}@{HOST}:{server.port}/{name}"
        assert (await factory.migrate(url, tls)).before == 0
        store = PostgresStore(url, tls=tls)
        await store.open()
        await opened(store)
        await store.remember_providers(frozenset({"acme"}))
        assert isinstance(await deliver(store, posting()), Applied)
        assert await cash(store) == posting().amount
        assert await store.discrepancies() == ()
        assert await factory.stored_money_providers(url, tls) == {"acme"}
        assert (await factory.audit_kept(url, tls)).transactions == 1
        await until(lambda: server.open == 3)
        await store.close()
        assert server.requests >= 7
        assert server.unencrypted == 0


async def test_a_loopback_address_is_verified_where_tls_is_configured(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    """Without [store] tls a loopback address is reached without TLS; with it, the certificate must be for it."""
    authority = trustme.CA()
    name = str(await value(postgres_url, "SELECT current_database()"))
    async with tls_front(authority.issue_cert(HOST), postgres) as server:
        url = f"postgresql://gateway@127.0.0.1:{server.port}/{name}"
        assert await factory.stored_money_providers(url) == frozenset()
        assert server.unencrypted == 1
        await rejected(url, "for another address", client_tls(tmp_path, authority))
    async with tls_front(authority.issue_cert("127.0.0.1"), postgres) as server:
        url = f"postgresql://gateway@127.0.0.1:{server.port}/{name}"
        assert await factory.stored_money_providers(url, client_tls(tmp_path, authority)) == frozenset()
        assert (server.requests, server.unencrypted) == (1, 0)


async def test_a_client_certificate_is_used_and_read_again(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    """A server that requires a certificate gets it; one that was renewed needs no restart."""
    authority, others = trustme.CA(), trustme.CA()
    name = str(await value(postgres_url, "SELECT current_database()"))
    async with tls_front(authority.issue_cert(HOST), postgres, clients=authority) as server:
        url = f"postgresql://gateway@{HOST}:{server.port}/{name}"
        await rejected(url, BROKEN, client_tls(tmp_path, authority))
        tls = client_tls(tmp_path, authority, others.issue_cert("client.example"))
        store = PostgresStore(url, tls=tls)
        with pytest.raises(StoreUnavailable, match=BROKEN):
            await store.open()
        client_tls(tmp_path, authority, authority.issue_cert("client.example"))
        await store.open()
        await store.ping()
        await store.close()


@pytest.mark.parametrize("mode", [mode for mode in SslMode if mode is not SslMode.DISABLE])
@pytest.mark.usefixtures("older_tls")
def test_tls_is_1_2_or_newer(mode: SslMode, tmp_path: Path) -> None:
    """Also where Python's default is older."""
    assert client_context(mode, client_tls(tmp_path, trustme.CA())).minimum_version is ssl.TLSVersion.TLSv1_2


def test_nobody_is_asked_for_the_password_of_a_key(tmp_path: Path) -> None:
    """An encrypted key is refused with an error, also on a terminal."""
    issued = trustme.CA().issue_cert("gateway")
    issued.cert_chain_pems[0].write_to_path(str(cert := tmp_path / "cert.pem"))
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    (tmp_path / "key.pem").write_bytes(encrypted)
    process, terminal = pty.fork()
    if not process:  # the child: a prompt would read from its terminal
        with suppress(OSError):
            client_context(SslMode.VERIFY_FULL, ClientTls(cert=cert, key=tmp_path / "key.pem"))
        os._exit(0)
    shown = b""
    with suppress(OSError):  # raised at the end of the child
        while not shown:
            shown = os.read(terminal, 1000)
    os.close(terminal)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert shown == b""
