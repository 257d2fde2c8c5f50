"""SIGHUP: a TLS session that began under a replaced authority cannot be resumed."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from tests.gateway.server.harness import MUTUAL_TLS, add_callback_tls, issue
from tests.support.gateway import configuration
from tests.support.process import serving
from tests.support.reloadable import Reloadable

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
"""The HTTP/2 preface with empty settings."""
REQUEST = b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("listener", ["grpc", "callbacks"])
async def test_a_session_of_a_replaced_authority_is_rejected(
    tmp_path: Path, listener: str, version: ssl.TLSVersion
) -> None:
    """A session, whose certificate is not verified again, is rejected after its authority was replaced."""
    authority, before, after = trustme.CA(), trustme.CA(), trustme.CA()
    issue(tmp_path, authority)
    before.cert_pem.write_to_path(tmp_path / "ca.pem")
    config = configuration(tmp_path, grpc=MUTUAL_TLS)
    add_callback_tls(config, MUTUAL_TLS)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    before.issue_cert("caller.example").configure_cert(context)
    context.minimum_version = context.maximum_version = version
    if listener == "grpc":
        context.set_alpn_protocols(["h2"])

    def connect(at: str, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
        host, _, port = at.partition(":")
        with (
            socket.create_connection((host, int(port)), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname=host, session=session) as connection,
        ):
            connection.sendall(GREETING if listener == "grpc" else REQUEST)
            assert connection.recv(1)  # a rejected client receives an alert, or the end
            return connection.session

    async with serving(config) as process:
        gateway = Reloadable(config, process, None)  # type: ignore[arg-type]
        at = process.ready_message[listener]
        session = await asyncio.to_thread(connect, at, None)
        issue(tmp_path, authority)
        await gateway.send_sighup()
        await asyncio.to_thread(connect, at, session)
        after.cert_pem.write_to_path(tmp_path / "ca.pem")
        await gateway.send_sighup()
        with pytest.raises((OSError, AssertionError)):
            await asyncio.to_thread(connect, at, None)
        with pytest.raises((OSError, AssertionError)):
            await asyncio.to_thread(connect, at, session)
