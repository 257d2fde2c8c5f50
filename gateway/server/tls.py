"""TLS of listeners. The files are read again at a reload: connections that are made from then on get the new ones."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from ssl import AlertDescription, SSLContext, SSLObject, SSLSocket
from time import time

from gateway.config import ConfigInvalid, GrpcSettings, Settings, TlsFiles
from gateway.rpc import server as rpc
from gateway.server.certificates import log_validities, unusable, validities
from gateway.server.validation import ssl_context
from gateway.telemetry.instruments import Sample


class Certificates:
    """The certificates of a process's listeners, and the validity of all that its configuration names."""

    def __init__(self, settings: Settings) -> None:
        self._validities = validities(settings)
        log_validities(self._validities, datetime.now(UTC))
        self._listeners: list[Callable[[], Callable[[], None]]] = []
        """Each reads its files, and returns what applies them."""

    def for_callbacks(self, files: TlsFiles | None) -> SSLContext | None:
        """The context of the callback listener. Raises OSError."""
        if files is None:
            return None
        context = _RenewableContext(files)
        self._listeners.append(context.read)
        return context.listening

    def for_rpc(self, settings: GrpcSettings, server: rpc.RpcServer) -> rpc.TlsFiles | None:
        """The files of a gRPC server. Raises OSError."""
        if settings.tls is None:
            return None
        files = settings.tls
        self._listeners.append(lambda: partial(server.renew_tls, _read_pem(files)))
        return _read_pem(files)

    def not_after(self) -> list[Sample]:
        """The times at which certificates expire, by the path of the key, for a scrape."""
        return [((each.path,), each.not_after.timestamp()) for each in self._validities]

    def read(self, settings: Settings) -> Callable[[], None]:
        """Read all files. The returned function applies them, and does not fail.

        Raises OSError, and ConfigInvalid for a certificate that is not valid. One that is in use already is no reason:
        a reload in an incident must remain possible.
        """
        found, now = validities(settings), datetime.now(UTC)
        if problems := unusable([each for each in found if each not in self._validities], now):
            raise ConfigInvalid(problems)
        renewals = [read() for read in self._listeners]

        def apply() -> None:
            self._validities = found
            log_validities(found, now)
            for renew in renewals:
                renew()

        return apply


class _RenewableContext:
    """A listener keeps its context, but the SNI callback can give each connection another one in its handshake."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._client_ca = self._read_client_ca()
        self._client_ca_since = 0.0
        """When the present authority replaced another one: older sessions hold certificates of that one."""
        self.listening = self._current = ssl_context(files)
        self.listening.sni_callback = self._on_client_hello

    def read(self) -> Callable[[], None]:
        """Read the files. The returned function applies them. Raises OSError."""
        return partial(self._apply, ssl_context(self._files), self._read_client_ca())

    def _apply(self, context: SSLContext, client_ca: bytes) -> None:
        if client_ca != self._client_ca:
            self._client_ca, self._client_ca_since = client_ca, time()
        self._current = context

    def _read_client_ca(self) -> bytes:
        return self._files.client_ca.read_bytes() if self._files.client_ca else b""

    def _on_client_hello(self, connection: SSLObject | SSLSocket, name: str | None, context: SSLContext) -> int | None:
        connection.context = self._current
        # A resumed session's certificate is not verified again. Its start time is in whole seconds.
        if connection.session_reused and connection.session and connection.session.time <= self._client_ca_since:
            return AlertDescription.ALERT_DESCRIPTION_ACCESS_DENIED
        return None


def _read_pem(files: TlsFiles) -> rpc.TlsFiles:
    ca = files.client_ca.read_bytes() if files.client_ca else None
    return rpc.TlsFiles(files.cert.read_bytes(), files.key.read_bytes(), ca)
