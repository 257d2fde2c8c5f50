"""One HTTP exchange with a provider: made once, bounded in time and in size, and exact about what left us.

What aiohttp does by itself and must not do here is switched off: proxies from the environment, redirects, cookies,
decompression, headers of its own, and sending a request again.
"""

import ssl
from dataclasses import dataclass
from enum import StrEnum, unique

import aiohttp
from aiohttp import ClientConnectorCertificateError, ClientConnectorError, ClientRequest, ClientResponse
from aiohttp.client import ClientTimeout
from aiohttp.client_middlewares import ClientHandlerType
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError

from adapters.contract import HttpReply, HttpRequest, kind_by_status
from gateway.outbound.addresses import AddressRefused, PublicResolver, literal_private_address
from gateway.outbound.deadline import Deadline
from gateway.outbound.target import Target, headers_of

_STALE_CONNECTIONS = 3
"""How many connections with an answer that nobody asked for are thrown away before a call gives up."""


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


class CannotBeSent(ValueError):
    """HTTP cannot carry the request: an adapter's bug, found before anything is sent."""


class ProviderClient:
    """The connections to one provider. Raises ValueError for an endpoint whose base URL cannot be used."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._target = Target(endpoint.base_url)
        self._refused = None if endpoint.allow_private_addresses else literal_private_address(endpoint.base_url)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make ready on the running loop. Connects nowhere."""
        resolver = aiohttp.ThreadedResolver() if self._endpoint.allow_private_addresses else PublicResolver()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._endpoint.connections, resolver=resolver),
            timeout=ClientTimeout(total=None, connect=self._endpoint.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
            request_class=_Request,
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection; an exchange under way fails with what it has come to."""
        if self._session is not None:
            await self._session.close()

    async def exchange(self, request: HttpRequest, deadline: Deadline) -> HttpReply:
        """Send the request once and take the answer in whole, whatever its status, before the deadline.

        Raises ExchangeFailed; CannotBeSent for a request that HTTP cannot carry, and RuntimeError outside of start and
        close, both before anything is sent.
        """
        if self._session is None:
            raise RuntimeError(f"the client of provider {self._endpoint.provider!r} is not started")
        try:
            url, headers = self._target.url(request), headers_of(request)
        except ValueError as error:
            raise CannotBeSent(str(error)) from error
        if self._refused is not None:
            raise self._unreachable(_private(self._refused))
        if deadline.remaining() <= 0:
            raise self._unreachable(
                "the deadline had passed before a connection was looked for; give the call more time"
            )
        once = _Once()
        try:
            async with (
                deadline.bound(),
                self._session.request(
                    request.method,
                    url,
                    headers=headers,
                    data=request.body or None,
                    allow_redirects=False,
                    middlewares=(once,),
                ) as response,
            ):
                return await self._read(response)
        except (aiohttp.ClientError, HttpProcessingError, TimeoutError, _AnswerRefused) as error:
            # The cause is left out: aiohttp's errors hold the request's headers and pieces of the answer.
            raise (self._failure_after(error) if once.sent else self._failure_before(error)) from None

    async def _read(self, response: ClientResponse) -> HttpReply:
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers)
        try:
            body = await self._body(response)
        except _AnswerRefused:
            if kind_by_status(response.status) is None:
                raise
            body = b""  # the status says it all, whatever the body
        return HttpReply(response.status, headers, body)

    async def _body(self, response: ClientResponse) -> bytes:
        encoding = ", ".join(response.headers.getall("Content-Encoding", ()))
        if encoding.strip().lower() not in {"", "identity"}:
            raise _AnswerRefused("answered with a Content-Encoding although identity was asked")
        limit = self._endpoint.max_answer_bytes
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise _AnswerRefused(f"answered with more than {limit} bytes")
        return bytes(body)

    def _unreachable(self, why: str) -> ExchangeFailed:
        return ExchangeFailed(ExchangeFault.UNREACHABLE, False, f"{self._target.where} was not reached: {why}")

    def _failure_before(self, error: Exception) -> ExchangeFailed:
        match error:
            case ClientConnectorError(os_error=AddressRefused() as refused):
                return self._unreachable(_private(refused.address))
            case ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as refused):
                return self._unreachable(
                    f"its TLS certificate is not accepted ({refused.verify_message}); check base_url"
                )
            case ClientConnectorError():
                why = error.os_error.strerror or type(error.os_error).__name__
                return self._unreachable(f"{why}; check base_url, and whether the provider is up")
            case aiohttp.ConnectionTimeoutError():
                return self._unreachable(
                    f"no connection within {self._endpoint.connect_timeout_s:g} s, waiting for one of "
                    f"{self._endpoint.connections} included; check that the provider is up and not overloaded"
                )
            case TimeoutError():
                return self._unreachable("the deadline passed before there was a connection; give the call more time")
            case _:
                return self._unreachable(f"no usable connection ({type(error).__name__}); check base_url")

    def _failure_after(self, error: Exception) -> ExchangeFailed:
        match error:
            case TimeoutError():
                fault, what = ExchangeFault.TIMEOUT, "did not answer in time"
            case _AnswerRefused():
                fault, what = ExchangeFault.ANSWER_MALFORMED, str(error)
            case aiohttp.ClientResponseError() | HttpProcessingError():
                fault, what = ExchangeFault.ANSWER_MALFORMED, "answered with something that is not HTTP"
            case _:
                fault, what = ExchangeFault.CONNECTION_LOST, "closed the connection before its answer was complete"
        return ExchangeFailed(
            fault,
            True,
            f"{self._target.where} {what}; whether it carried the request out is unknown: ask again, or ask it",
        )


def _private(address: str) -> str:
    return f"{address} is not a public address; set allow_private_addresses = true for this provider if it is meant"


class _AnswerRefused(Exception):
    """An answer that is not taken in; the message says what the provider did."""


class _Lost(aiohttp.ClientError):
    """The connection ended after sending. Not of the kinds after which aiohttp sends GET, PUT and DELETE again."""


class _Stale(aiohttp.ClientError):
    """A pooled connection holds an answer to no question, or has ended. Nothing was sent on it."""


class _Request(ClientRequest):
    """A request that knows whether its first byte may have left."""

    sent = False

    async def send(self, conn: Connection) -> ClientResponse:
        """Write the request, unless what came unasked on this connection would be taken for its answer."""
        if conn.protocol is None or conn.protocol.should_close:
            raise _Stale
        self.sent = True
        return await super().send(conn)


class _Once:
    """A middleware around aiohttp's connecting and sending: a request leaves at most once."""

    def __init__(self) -> None:
        self._request: ClientRequest | None = None

    @property
    def sent(self) -> bool:
        """Whether a byte of the request may have left."""
        return isinstance(self._request, _Request) and self._request.sent

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        self._request = request
        for _ in range(_STALE_CONNECTIONS):
            try:
                return await handler(request)
            except _Stale:
                continue
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                if not self.sent:
                    raise
                raise _Lost from error
        raise _Stale
