"""A provider with a private authority, which requires a certificate of its clients."""

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.outbound.client import ExchangeFault
from gateway.outbound.tls import ProviderTls, create_tls_context, read_tls
from tests.gateway.outbound.harness import client, exchange, failure
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider

AUTHORITY, OTHER_AUTHORITY = trustme.CA(), trustme.CA()


def own_tls(folder: Path, *, ca: trustme.CA = AUTHORITY, by: trustme.CA | None = AUTHORITY) -> ProviderTls:
    """The gateway's side: it trusts `ca`, and has a certificate of `by`."""
    ca.cert_pem.write_to_path(folder / "ca.pem")
    if by is None:
        return read_tls(folder / "ca.pem", None, None)
    issued = by.issue_cert("gateway.example")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return read_tls(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")


def provider_context(*names: str, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """The provider's side: it requires a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    AUTHORITY.issue_cert(*names or ("127.0.0.1",)).configure_cert(context)
    AUTHORITY.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def answering(peer: Peer) -> None:
    while await peer.request():
        await peer.send(answer())


async def test_a_provider_gets_our_certificate(tmp_path: Path) -> None:
    """A private authority is trusted in place of the system's, and our certificate is presented."""
    subjects = []

    async def provider(peer: Peer) -> None:
        subjects.append(peer.writer.get_extra_info("peercert")["subjectAltName"])
        await answering(peer)

    async with (
        raw_provider(provider, provider_context()) as provided,
        client(provided.base_url, own_tls(tmp_path)) as c,
    ):
        assert (await exchange(c)).status == 200
    assert subjects == [(("DNS", "gateway.example"),)]


async def test_another_authority_of_the_provider_is_rejected(tmp_path: Path) -> None:
    """Nothing is sent, and the error names the key to look at."""
    async with raw_provider(answering, provider_context()) as provided:
        async with client(provided.base_url, own_tls(tmp_path, ca=OTHER_AUTHORITY)) as c:
            failed = await failure(c)
        assert (failed.fault, failed.sent, provided.requests) == (ExchangeFault.UNREACHABLE, False, [])
    assert "tls.ca" in failed.detail


async def test_the_name_is_checked_with_a_private_authority_too(tmp_path: Path) -> None:
    """A certificate of the private authority for another name is rejected."""
    async with raw_provider(answering, provider_context("other.example")) as provided:
        async with client(provided.base_url, own_tls(tmp_path)) as c:
            failed = await failure(c)
        assert (failed.fault, failed.sent, provided.requests) == (ExchangeFault.UNREACHABLE, False, [])


@contextmanager
def rejecting_provider(context: ssl.SSLContext) -> Iterator[int]:
    """Its port. It rejects a handshake, and then waits for the client to end the connection."""

    def serve() -> None:
        peer, _ = listening.accept()
        with context.wrap_socket(peer, server_side=True, do_handshake_on_connect=False) as tls:
            with pytest.raises(ssl.SSLError):
                tls.do_handshake()
            while os.read(tls.fileno(), 65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("by", [None, OTHER_AUTHORITY], ids=["none", "of another authority"])
async def test_a_rejected_certificate_is_unsent(tmp_path: Path, by: trustme.CA | None, newest: ssl.TLSVersion) -> None:
    """The provider has read no request, also where TLS 1.3 lets us send it first, and the error says what to check."""
    with rejecting_provider(provider_context(newest=newest)) as port:
        async with client(f"https://127.0.0.1:{port}", own_tls(tmp_path, by=by)) as c:
            failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
    assert "tls.cert" in failed.detail


async def test_a_lost_connection_is_not_unsent(tmp_path: Path) -> None:
    """Without such an alert it is unknown whether the provider has read the request."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with (
        raw_provider(provider, provider_context()) as provided,
        client(provided.base_url, own_tls(tmp_path)) as c,
    ):
        failed = await failure(c)
    assert (failed.fault, failed.sent) == (ExchangeFault.CONNECTION_LOST, True)


def test_settings_are_equal_where_the_files_are(tmp_path: Path) -> None:
    """Another content differs, and no repr shows anything of the files."""
    first = own_tls(tmp_path)
    assert first == read_tls(tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    assert first != own_tls(tmp_path)
    assert repr(first) == "ProviderTls()"


def test_an_encrypted_key_is_refused(tmp_path: Path) -> None:
    """Its password is not asked for: the gateway has no terminal."""
    own_tls(tmp_path)
    key = load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    (tmp_path / "key.pem").write_bytes(encrypted)
    with pytest.raises(OSError, match="SSL"):
        read_tls(None, tmp_path / "cert.pem", tmp_path / "key.pem")


@pytest.mark.usefixtures("older_tls")
def test_old_tls_and_renegotiation_are_off(tmp_path: Path) -> None:
    """With the system's authorities and with a private one: names are checked, and TLS 1.2 is the oldest version, also
    where Python's default is older.
    """
    for context in (create_tls_context.__wrapped__(), own_tls(tmp_path).context):
        assert context.check_hostname
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION


def test_a_private_authority_replaces_the_systems(tmp_path: Path) -> None:
    """Only the file's authority is trusted."""
    assert own_tls(tmp_path).context.cert_store_stats()["x509"] == 1
