"""Certificates of listeners, read anew while they serve: who connects from then on is shown the present ones."""

from collections.abc import Callable
from functools import partial
from ssl import AlertDescription, SSLContext, SSLObject, SSLSocket
from time import time

from gateway.config import GrpcSettings, TlsFiles
from gateway.rpc import server as rpc
from gateway.server.validation import ssl_context


class Certificates:
    """The TLS of a process's listeners."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], Callable[[], None]]] = []
        """Each reads its files; what it answers puts them in force."""

    def of_callbacks(self, files: TlsFiles | None) -> SSLContext | None:
        """What to listen with. Raises OSError."""
        if files is None:
            return None
        context = _Context(files)
        self._listeners.append(context.read)
        return context.listening

    def of_rpc(self, settings: GrpcSettings, server: rpc.RpcServer) -> rpc.TlsFiles | None:
        """What a server of gRPC is to listen with. Raises OSError."""
        if settings.tls is None:
            return None
        files = settings.tls
        self._listeners.append(lambda: partial(server.renew_tls, _pem(files)))
        return _pem(files)

    def read(self) -> Callable[[], None]:
        """Read all files anew. What is answered puts them in force, and does not fail. Raises OSError."""
        renewals = [read() for read in self._listeners]

        def renew() -> None:
            for renewed in renewals:
                renewed()

        return renew


class _Context:
    """A listener cannot be given another context, but each connection can, once it has said hello."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._authority = self._read_authority()
        self._authority_since = 0.0
        """When it replaced another one; sessions that began before hold certificates of that one."""
        self.listening = self._present = ssl_context(files)
        self.listening.sni_callback = self._said_hello

    def read(self) -> Callable[[], None]:
        """Read the files anew."""
        return partial(self._renew, ssl_context(self._files), self._read_authority())

    def _renew(self, present: SSLContext, authority: bytes) -> None:
        if authority != self._authority:
            self._authority, self._authority_since = authority, time()
        self._present = present

    def _read_authority(self) -> bytes:
        return self._files.client_ca.read_bytes() if self._files.client_ca else b""

    def _said_hello(self, connection: SSLObject | SSLSocket, name: str | None, context: SSLContext) -> int | None:
        connection.context = self._present
        # Of a session that is resumed no certificate is looked at again. It tells its beginning in whole seconds.
        if connection.session_reused and connection.session and connection.session.time <= self._authority_since:
            return AlertDescription.ALERT_DESCRIPTION_ACCESS_DENIED
        return None


def _pem(files: TlsFiles) -> rpc.TlsFiles:
    ca = files.client_ca.read_bytes() if files.client_ca else None
    return rpc.TlsFiles(files.cert.read_bytes(), files.key.read_bytes(), ca)
