"""One HTTP exchange with a provider: made once, bounded in time and in size, and exact about what left us.

HTTP/1.1 as a provider's JSON API needs it and nothing more: no proxies from the environment, no redirects, no cookies,
no decompression, no header that nobody asked for, and no request that is sent a second time.
"""

import asyncio
import ssl
from dataclasses import dataclass
from enum import StrEnum, unique

from adapters.contract import HttpReply, HttpRequest
from gateway.outbound.address_guard import AddressRefused, PublicResolver, literal_private_address
from gateway.outbound.connection import Connection, ConnectionLost
from gateway.outbound.connection_pool import ConnectionPool, PoolClosed, load_ssl_context
from gateway.outbound.deadline import Deadline
from gateway.outbound.request_writer import RequestWriter
from gateway.outbound.resolver import Resolver
from gateway.outbound.response_parser import RemoteProtocolError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one provider is reached, and within which bounds."""

    provider: str
    base_url: str
    allow_private_addresses: bool = False
    connect_timeout_s: float = 2.0
    """Seconds to get a connection: waiting for a free one, resolving, connecting and the TLS handshake together."""
    max_answer_bytes: int = 1024 * 1024
    connections: int = 100
    """Connections open at a time; a call beyond them waits."""


@unique
class ExchangeFault(StrEnum):
    """Why there is no answer. UNREACHABLE alone means that nothing was sent."""

    UNREACHABLE = "UNREACHABLE"
    """No connection: name, address, connect, TLS or pool, or the deadline passed before there was one."""
    TIMEOUT = "TIMEOUT"
    """The deadline passed after sending."""
    CONNECTION_LOST = "CONNECTION_LOST"
    """The connection ended after sending, before the answer was complete."""
    ANSWER_MALFORMED = "ANSWER_MALFORMED"
    """Not HTTP, larger than allowed, or encoded although identity was asked."""


class ExchangeFailed(Exception):
    """An exchange without an answer.

    `sent` is False only where not one byte of the request can have left; `detail` is for a person and has no secret.
    """

    def __init__(self, fault: ExchangeFault, sent: bool, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.sent = sent
        self.detail = detail


class LocalProtocolError(ValueError):
    """HTTP cannot carry the request: an adapter's bug, found before anything is sent."""


class ProviderClient:
    """The connections to one provider. Raises ValueError for an endpoint whose base URL cannot be used."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._target = RequestWriter(endpoint.base_url)
        self._refused = None if endpoint.allow_private_addresses else literal_private_address(endpoint.base_url)
        self._pool: ConnectionPool | None = None
        self._reading_authorities: asyncio.Future[ssl.SSLContext] | None = None

    @property
    def base_url(self) -> str:
        """Where the provider is asked."""
        return self._endpoint.base_url

    @property
    def host(self) -> str:
        """The host that is asked."""
        return self._target.host

    @property
    def port(self) -> int:
        """Its port."""
        return self._target.port

    async def start(self) -> None:
        """Make ready on the running loop. Connects nowhere."""
        if self._target.tls:
            self._reading_authorities = load_ssl_context()  # before the first call asks for it
        resolver = Resolver() if self._endpoint.allow_private_addresses else PublicResolver()
        self._pool = ConnectionPool(self._target, resolver, self._endpoint.connections, self._endpoint.max_answer_bytes)

    def retire(self) -> None:
        """Another client takes over: calls that began with this one are carried out, and nothing stays open behind
        them.
        """
        if self._pool is not None:
            self._pool.retire()

    async def close(self) -> None:
        """Close every connection; an exchange under way fails with what it has come to."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    async def send(self, request: HttpRequest, deadline: Deadline) -> HttpReply:
        """Send the request once and take the answer in whole, whatever its status, before the deadline.

        Raises ExchangeFailed; CannotBeSent for a request that HTTP cannot carry, and RuntimeError outside of start and
        close, both before anything is sent.
        """
        pool = self._pool
        if pool is None:
            raise RuntimeError(f"the client of provider {self._endpoint.provider!r} is not started")
        try:
            message = self._target.message(request)
        except ValueError as error:
            raise LocalProtocolError(str(error)) from error
        if self._refused is not None:
            raise self._unreachable(_private(self._refused))
        if deadline.remaining() <= 0:
            raise self._unreachable(
                "the deadline had passed before a connection was looked for; give the call more time"
            )
        connection = pool.take_ready() or await self._connection(pool, deadline)
        try:
            return await connection.send_request(message, deadline, head=request.method == "HEAD")
        except (RemoteProtocolError, ConnectionLost, TimeoutError) as error:
            raise self._failure_after(error) from None
        finally:
            pool.give_back(connection)

    async def _connection(self, pool: ConnectionPool, deadline: Deadline) -> Connection:
        """Wait for a connection. Raises ExchangeFailed, with nothing sent."""
        try:
            async with deadline.bound(), asyncio.timeout(self._endpoint.connect_timeout_s) as limit:
                return await pool.take()
        except (OSError, ValueError, PoolClosed) as error:  # a time-out is an OSError
            raise self._unreachable(self._too_slow() if limit.expired() else _explain_connect_error(error)) from None

    def _too_slow(self) -> str:
        return (
            f"no connection within {self._endpoint.connect_timeout_s:g} s, waiting for one of "
            f"{self._endpoint.connections} included; check that the provider is up and not overloaded"
        )

    def _unreachable(self, why: str) -> ExchangeFailed:
        return ExchangeFailed(ExchangeFault.UNREACHABLE, False, f"{self._target.where} was not reached: {why}")

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
            f"{self._target.where} {what}; whether it carried the request out is unknown: ask again, or ask it",
        )


def _explain_connect_error(error: Exception) -> str:
    match error:
        case AddressRefused():
            return _private(error.address)
        case ssl.SSLCertVerificationError():
            return f"its TLS certificate is not accepted ({error.verify_message}); check base_url"
        case TimeoutError(errno=None):
            return "the deadline passed before there was a connection; give the call more time"
        case OSError():
            return f"{error.strerror or type(error).__name__}; check base_url, and whether the provider is up"
        case PoolClosed():
            return "the gateway is stopping"
        case _:
            return f"no usable connection ({type(error).__name__}); check base_url"


def _private(address: str) -> str:
    return f"{address} is not a public address; set allow_private_addresses = true for this provider if it is meant"
