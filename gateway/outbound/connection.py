"""One connection to a provider: one request at a time and its answer."""

import asyncio
import select
import ssl
from collections.abc import Callable
from typing import cast

from adapters.contract import HttpReply
from gateway.outbound.deadline import Deadline
from gateway.outbound.response_parser import RemoteProtocolError, ResponseParser
from gateway.outbound.tls import CLIENT_CERTIFICATE_ALERTS

_EARLY_S = 0.001
"""Seconds by which a timer may fire early: uvloop counts in whole milliseconds."""

_CLOSED = select.POLLERR | select.POLLHUP | select.POLLRDHUP


class ConnectionLost(Exception):
    """The connection ended after sending, before the answer was complete."""


class CertificateRejected(Exception):
    """The provider ended the TLS handshake because of our certificate: it has read nothing that was sent after it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Connection(asyncio.Protocol):
    """An open connection. The caller that acquired it from the pool uses it alone until it releases it.

    It ends itself when the provider closes it, and when the provider sends anything outside an exchange.
    """

    def __init__(self, max_answer_bytes: int, on_lost: Callable[["Connection"], None]) -> None:
        """`max_answer_bytes` limits an answer's body; `on_lost` is called once, when the connection has ended."""
        self.idle_since = 0.0
        self.opened_at = 0.0
        """The loop's time of its last release to the pool."""
        self._max_answer_bytes = max_answer_bytes
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._unread = select.poll()
        self._transport: asyncio.Transport
        self._parser: ResponseParser | None = None
        self._answer: asyncio.Future[HttpReply] | None = None
        self._deadline: Deadline | None = None
        self._timer: asyncio.TimerHandle | None = None
        """Fires at the deadline or before it. One timer serves many exchanges: it checks which one is in progress."""
        self._reusable = True
        self._await_verdict = False
        """Whether the provider may still reject our certificate: with TLS 1.3 it checks that, before it reads a
        request, when the handshake is complete on our side.
        """
        self._ended = False

    # --- called by the pool and the client ----------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether a request can be written, as far as this process knows."""
        return self._reusable and not self._ended and not self._transport.is_closing()

    def is_reusable(self) -> bool:
        """Whether nothing unread is in the system's buffers: an end, or bytes that look like the next answer."""
        return self.open and not self._unread.poll(0)

    def is_connected(self) -> bool:
        """Whether the peer is still connected, as far as the system knows. Unread bytes do not matter: TLS sends some
        at the start.
        """
        return self.open and not any(events & _CLOSED for _, events in self._unread.poll(0))

    async def send_request(self, message: bytes, deadline: Deadline, *, head: bool) -> HttpReply:
        """Send one request and wait for its answer; `head` says that the method is HEAD.

        Raises RemoteProtocolError, ConnectionLost, and TimeoutError once the deadline has passed. The request may have
        been sent in each case. Raises CertificateRejected where the provider has not read it. In each of these cases,
        and when the caller is cancelled, the connection ends.
        """
        self._reusable = False
        self._parser = parser = ResponseParser(self._max_answer_bytes, to_head=head)
        answer: asyncio.Future[HttpReply] = self._loop.create_future()
        self._answer = answer
        self._transport.write(message)
        self._deadline = deadline
        deadline.watch(self._set_timer)
        if self._timer is None or deadline.at < self._timer.when():
            self._set_timer(deadline.at)
        try:
            reply = await answer
            # A request that is still being written would run into the next one.
            self._reusable = parser.reusable and not self._transport.get_write_buffer_size()
        finally:
            deadline.unwatch(self._set_timer)
            self._parser = self._answer = self._deadline = None
            if not self._reusable:
                self.abort()
        return reply

    def abort(self) -> None:
        """End the connection at once; an exchange in progress fails with ConnectionLost."""
        self._ended = True
        self._transport.abort()

    # --- the deadline -------------------------------------------------------------------------------------------------

    def _waiting(self) -> bool:
        return self._answer is not None and not self._answer.done()

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_timer) if self._waiting() else None

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline.remaining() > _EARLY_S:
            self._set_timer(self._deadline.at)
        else:
            self._fail(TimeoutError())

    # --- called by the event loop -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open, the TLS handshake included."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from it
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        self._await_verdict = tls is not None and tls.version() == "TLSv1.3"
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLRDHUP)

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer, or bytes outside an exchange."""
        self._await_verdict = False
        if self._parser is None or not self._waiting():
            self.abort()
            return
        try:
            reply = self._parser.feed(data)
        except RemoteProtocolError as error:
            self._fail(error)
        else:
            self._complete(reply)

    def eof_received(self) -> None:
        """The provider sends nothing more, which completes some answers. The transport closes itself."""
        self._ended = True
        if self._parser is not None and self._peer_closed():
            self._complete(self._parser.end())

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, by either side."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._await_verdict and isinstance(exc, ssl.SSLError) and exc.reason in CLIENT_CERTIFICATE_ALERTS:
            self._fail(CertificateRejected(exc.reason))
        else:
            self._fail(ConnectionLost())
        self._on_lost(self)

    def _peer_closed(self) -> bool:
        """Whether the provider ended the connection. asyncio calls eof_received also where TLS was cut off below."""
        tls: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        try:
            return tls is None or not tls.read(1)
        except ssl.SSLError:
            return False

    def _complete(self, reply: HttpReply | None) -> None:
        if reply is not None and self._answer is not None and not self._answer.done():
            self._answer.set_result(reply)

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
