"""TLS in front of a real PostgreSQL, whose wheel is built without it; or a server that records what it receives."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trustme

from gateway.config import ClientTls
from tests.gateway.store.postgres.proxy import SOCKET
from tests.support.postgres import PostgresServer
from tests.support.waiting import until

HOST = "db.example"

SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class TlsFront:
    """Answers a request for TLS as PostgreSQL does: yes with a certificate, no without.

    What follows is recorded, and with `server` relayed to it. With `clients` a client needs a certificate of theirs.
    """

    def __init__(
        self, certificate: trustme.LeafCert | None, server: PostgresServer | None, clients: trustme.CA | None
    ) -> None:
        self.received = bytearray()
        self.requests = 0
        self.unencrypted = 0
        self.open = 0
        self.port = 0
        self._server = server
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            certificate.configure_cert(self._context)
            if clients is not None:
                clients.configure_trust(self._context)
                self._context.verify_mode = ssl.CERT_REQUIRED

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.open += 1
        try:
            first = await reader.readexactly(len(SSL_REQUEST))
            if first != SSL_REQUEST:
                self.unencrypted += 1
            else:
                self.requests += 1
                writer.write(b"N" if self._context is None else b"S")
                if self._context is not None:
                    await writer.start_tls(self._context)
            await self._relay(b"" if first == SSL_REQUEST else first, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client rejects the certificate, or the connection is cut
        finally:
            self.open -= 1
            writer.close()

    async def _relay(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:
            self.received += first
            while data := await reader.read(65536):
                self.received += data
            return
        there, to_server = await asyncio.open_unix_connection(str(self._server.folder / SOCKET))
        to_server.write(first)
        answers = asyncio.create_task(_copy(there, writer))
        try:
            await _copy(reader, to_server)
        finally:
            answers.cancel()
            to_server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def tls_front(
    certificate: trustme.LeafCert | None = None,
    server: PostgresServer | None = None,
    clients: trustme.CA | None = None,
) -> AsyncIterator[TlsFront]:
    """A listening one."""
    front = TlsFront(certificate, server, clients)
    async with await asyncio.start_server(front.serve, "127.0.0.1", 0) as listening:
        front.port = listening.sockets[0].getsockname()[1]
        yield front
    await until(lambda: not front.open)


def client_tls(folder: Path, authority: trustme.CA, certificate: trustme.LeafCert | None = None) -> ClientTls:
    """The files of a client that trusts an authority, and has a certificate or not."""
    authority.cert_pem.write_to_path(folder / "ca.pem")
    if certificate is None:
        return ClientTls(ca=folder / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    return ClientTls(ca=folder / "ca.pem", cert=folder / "cert.pem", key=folder / "key.pem")
