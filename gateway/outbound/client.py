"""HTTP exchanges with a provider: sent once, limited in time and size, with a result that says whether it was sent.

HTTP/1.1 as a provider's JSON API needs it: no proxies from the environment, no redirects, no cookies, no decompression,
no added headers, and no request that is sent twice.
"""

import asyncio
import ssl
from dataclasses import dataclass
from enum import StrEnum, unique

import structlog

from adapters.contract import HttpReply, HttpRequest
from gateway.outbound.address_guard import AddressRefused, literal_private_address, resolve_public
from gateway.outbound.connection import CertificateRejected, Connection, ConnectionLost
from gateway.outbound.connection_pool import ConnectionPool, PoolClosed
from gateway.outbound.deadline import Deadline
from gateway.outbound.request_writer import RequestWriter
from gateway.outbound.resolver import resolve
from gateway.outbound.response_parser import RemoteProtocolError
from gateway.outbound.shortage import shortage
from gateway.outbound.tls import CLIENT_CERTIFICATE_ALERTS, ProviderTls, load_ssl_context
from gateway.telemetry.sampling import LineSampler

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A provider's base URL and the limits of its connections."""

    provider: str
    base_url: str
    allow_private_addresses: bool = False
    connect_timeout_s: float = 2.0
    """Seconds to get a connection: waiting for a free one, DNS, connecting and the TLS handshake together."""
    max_answer_bytes: int = 256 * 1024
    """Of an answer's body; answers of the known dialects have a few hundred."""
    connections: int = 100
    """Connections open at a time; further calls wait."""
    tls: ProviderTls | None = None
    """The provider's own authority, and our certificate; None for the system's authorities and no certificate."""


@unique
class ExchangeFault(StrEnum):
    """Why there is no answer. With UNREACHABLE and HOST_SHORT nothing was sent."""

    UNREACHABLE = "UNREACHABLE"
    """No connection: DNS, address, connect, TLS or pool failed, or the deadline passed before there was one."""
    HOST_SHORT = "HOST_SHORT"
    """No connection, because this host is short of files, ports, memory or threads."""
    TIMEOUT = "TIMEOUT"
    """The deadline passed after sending."""
    CONNECTION_LOST = "CONNECTION_LOST"
    """The connection ended after sending, before the answer was complete."""
    ANSWER_MALFORMED = "ANSWER_MALFORMED"
    """Not HTTP, too large, or encoded although identity was requested."""


class ExchangeFailed(Exception):
    """An exchange without an answer.

    `sent` is False only where the provider cannot have read a byte of the request. `detail` is for an operator, without
    secrets.
    """

    def __init__(self, fault: ExchangeFault, sent: bool, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.sent = sent
        self.detail = detail


def _log_shortage(_peer: str, resource: str, *, advice: str = "", suppressed: int = 0) -> None:
    log.error("this host is short of a resource", resource=resource, advice=advice, suppressed=suppressed)


_SHORTAGES = LineSampler(_log_shortage)
"""One line a minute, whichever provider's calls it stops."""


class LocalProtocolError(ValueError):
    """HTTP cannot represent the request: an adapter's bug, found before anything is sent."""


class ProviderClient:
    """Sends requests to one provider. Raises ValueError for an invalid base URL."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._writer = RequestWriter(endpoint.base_url)
        self._private_address = None if endpoint.allow_private_addresses else literal_private_address(endpoint.base_url)
        self._pool: ConnectionPool | None = None
        self._tls_context: asyncio.Future[ssl.SSLContext] | None = None

    @property
    def base_url(self) -> str:
        """The configured base URL."""
        return self._endpoint.base_url

    @property
    def host(self) -> str:
        """The base URL's host."""
        return self._writer.host

    @property
    def port(self) -> int:
        """The base URL's port."""
        return self._writer.port

    async def start(self) -> None:
        """Prepare on the running loop. Opens no connection."""
        if self._writer.tls and self._endpoint.tls is None:
            self._tls_context = load_ssl_context()  # before the first call needs it
        endpoint = self._endpoint
        self._pool = ConnectionPool(
            self._writer,
            resolve if endpoint.allow_private_addresses else resolve_public,
            endpoint.connections,
            endpoint.max_answer_bytes,
            tls=endpoint.tls.context if endpoint.tls else None,
            public_only=not endpoint.allow_private_addresses,
        )

    def retire(self) -> None:
        """Another client replaces this one: calls that began here finish, and no connection stays open after them."""
        if self._pool is not None:
            self._pool.retire()

    async def close(self) -> None:
        """Close every connection; an exchange in progress fails with CONNECTION_LOST."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    async def send(self, request: HttpRequest, deadline: Deadline) -> HttpReply:
        """Send the request once, and receive the whole answer, of any status, before the deadline.

        Raises ExchangeFailed; before anything is sent, LocalProtocolError for a request that HTTP cannot represent, and
        RuntimeError where the client is not started.
        """
        pool = self._pool
        if pool is None:
            raise RuntimeError(f"the client of provider {self._endpoint.provider!r} is not started")
        try:
            message = self._writer.serialize(request)
        except ValueError as error:
            raise LocalProtocolError(str(error)) from error
        if self._private_address is not None:
            raise self._unreachable(_private(self._private_address))
        if deadline.remaining() <= 0:
            raise self._unreachable("the deadline had passed before there was a connection; give the call more time")
        connection = pool.try_acquire() or await self._connection(pool, deadline)
        try:
            return await connection.send_request(message, deadline, head=request.method == "HEAD")
        except CertificateRejected as error:
            raise self._unreachable(_rejected_certificate(error.reason)) from None
        except (RemoteProtocolError, ConnectionLost, TimeoutError) as error:
            raise self._failure_after(error) from None
        finally:
            pool.release(connection)

    async def _connection(self, pool: ConnectionPool, deadline: Deadline) -> Connection:
        """Wait for a connection. Raises ExchangeFailed, with nothing sent."""
        try:
            async with deadline.bound(), asyncio.timeout(self._endpoint.connect_timeout_s) as limit:
                return await pool.acquire()
        except (OSError, ValueError, PoolClosed, MemoryError, RuntimeError) as error:  # TimeoutError is an OSError
            if what := shortage(error):
                raise self._short(what) from None
            if isinstance(error, RuntimeError):
                raise
            raise self._unreachable(
                self._connect_timeout() if limit.expired() else _explain_connect_error(error)
            ) from None

    def _connect_timeout(self) -> str:
        return (
            f"no connection within {self._endpoint.connect_timeout_s:g} s, the wait for one of "
            f"{self._endpoint.connections} included; check that the provider is up and not overloaded"
        )

    def _unreachable(self, cause: str) -> ExchangeFailed:
        return ExchangeFailed(ExchangeFault.UNREACHABLE, False, f"{self._writer.address} was not reached: {cause}")

    def _short(self, what: str) -> ExchangeFailed:
        _SHORTAGES.add("", what.partition(";")[0], advice=what)
        return ExchangeFailed(
            ExchangeFault.HOST_SHORT, False, f"nothing was sent to {self._writer.address}: this host is short of {what}"
        )

    def _failure_after(self, error: Exception) -> ExchangeFailed:
        match error:
            case TimeoutError():
                fault, what = ExchangeFault.TIMEOUT, "did not answer in time"
            case RemoteProtocolError():
                fault, what = ExchangeFault.ANSWER_MALFORMED, str(error)
            case _:
                fault, what = ExchangeFault.CONNECTION_LOST, "closed the connection before its answer was complete"
        return ExchangeFailed(
            fault,
            True,
            f"{self._writer.address} {what}; whether it executed the request is unknown: repeat the call, or ask it",
        )


def _explain_connect_error(error: Exception) -> str:
    match error:
        case AddressRefused():
            return _private(error.address)
        case ssl.SSLError():
            return _explain_tls_error(error)
        case TimeoutError(errno=None):
            return "the deadline passed before there was a connection; give the call more time"
        case OSError():
            return f"{error.strerror or type(error).__name__}; check base_url, and whether the provider is up"
        case PoolClosed():
            return "the gateway is stopping"
        case _:
            return f"no usable connection ({type(error).__name__}); check base_url"


def _explain_tls_error(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its TLS certificate is not accepted ({error.verify_message}); check base_url, and tls.ca where its "
            "authority is not one of the system's"
        )
    if error.reason in CLIENT_CERTIFICATE_ALERTS:
        return _rejected_certificate(error.reason)
    return f"{error.strerror}; check base_url, and whether the provider is up"


def _rejected_certificate(alert: str) -> str:
    return (
        f"it rejected the TLS handshake ({alert}): it requires a client certificate, or does not accept ours; check "
        "tls.cert and tls.key of this provider, and whether the certificate has expired"
    )


def _private(address: str) -> str:
    return f"{address} is not a public address; set allow_private_addresses = true for this provider if it is meant"
