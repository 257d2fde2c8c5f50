"""SIGHUP: who is not let in any more by a certificate is not let in by a TLS session of before either."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from tests.gateway.server.test_tls import MUTUAL, issue
from tests.support.gateway import configuration
from tests.support.process import serving
from tests.support.reloadable import Reloadable

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
"""HTTP/2's, with empty settings."""
REQUEST = b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("listener", ["grpc", "callbacks"])
async def test_an_exchanged_authority_cannot_be_gone_around(
    tmp_path: Path, listener: str, version: ssl.TLSVersion
) -> None:
    """A session holds the certificate that it began with, which is not looked at again where it is resumed."""
    authority, before, after = trustme.CA(), trustme.CA(), trustme.CA()
    issue(tmp_path, authority)
    before.cert_pem.write_to_path(tmp_path / "ca.pem")
    config = configuration(tmp_path, grpc=MUTUAL)
    config.write_text(config.read_text().replace("[callbacks]", f"[callbacks]\n{MUTUAL}"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    before.issue_cert("caller.example").configure_cert(context)
    context.minimum_version = context.maximum_version = version
    if listener == "grpc":
        context.set_alpn_protocols(["h2"])

    def answered(at: str, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
        host, _, port = at.partition(":")
        with (
            socket.create_connection((host, int(port)), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=host, session=session) as connection,
        ):
            connection.sendall(GREETING if listener == "grpc" else REQUEST)
            assert connection.recv(1)  # who is refused sees an alert, or the end
            return connection.session

    async with serving(config) as process:
        gateway = Reloadable(config, process, None)  # type: ignore[arg-type]
        at = process.said[listener]
        session = await asyncio.to_thread(answered, at, None)
        issue(tmp_path, authority)
        await gateway.hang_up()
        await asyncio.to_thread(answered, at, session)
        after.cert_pem.write_to_path(tmp_path / "ca.pem")
        await gateway.hang_up()
        with pytest.raises((OSError, AssertionError)):
            await asyncio.to_thread(answered, at, None)
        with pytest.raises((OSError, AssertionError)):
            await asyncio.to_thread(answered, at, session)
