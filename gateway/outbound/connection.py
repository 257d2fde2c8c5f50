"""One connection to a provider: one request at a time, and the answer to it."""

import asyncio
import select
import ssl
from collections.abc import Callable
from typing import cast

from adapters.contract import HttpReply
from gateway.outbound.deadline import Deadline
from gateway.outbound.response_parser import RemoteProtocolError, ResponseParser

_EARLY_S = 0.001
"""Seconds by which a timer may go off early: uvloop counts in whole milliseconds."""


_GONE = select.POLLERR | select.POLLHUP | select.POLLRDHUP


class ConnectionLost(Exception):
    """The connection ended after sending, before the answer was complete."""


class Connection(asyncio.Protocol):
    """A connection that stands. Whoever took it from the pool has it alone, until giving it back.

    It ends by itself where the provider closes it, and where it says anything that nobody asked for.
    """

    def __init__(self, max_answer_bytes: int, on_lost: Callable[["Connection"], None]) -> None:
        """`max_answer_bytes` bounds an answer's body; `on_lost` is called once, when the connection has ended."""
        self.idle_since = 0.0
        """The loop's time at which the pool got it back."""
        self._max_answer_bytes = max_answer_bytes
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._unread = select.poll()
        self._transport: asyncio.Transport
        self._reader: ResponseParser | None = None
        self._answer: asyncio.Future[HttpReply] | None = None
        self._deadline: Deadline | None = None
        self._timer: asyncio.TimerHandle | None = None
        """Goes off at the deadline or before it: one is set for many exchanges, and looks then which is under way."""
        self._reusable = True
        self._ended = False

    # --- what the pool and the client ask -----------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether a request can be written, as far as this process has heard."""
        return self._reusable and not self._ended and not self._transport.is_closing()

    def is_reusable(self) -> bool:
        """Whether the system holds nothing that came on it: an end, or what would be taken for the next answer."""
        return self.open and not self._unread.poll(0)

    def is_connected(self) -> bool:
        """Whether the other end is still there, as far as the system has heard. What it may have said is not looked at:
        TLS says something of its own at the beginning.
        """
        return self.open and not any(events & _GONE for _, events in self._unread.poll(0))

    async def send_request(self, message: bytes, deadline: Deadline, *, head: bool) -> HttpReply:
        """Send one request and wait for its answer; `head` says that the method is HEAD.

        From here on the request may have left, whatever is raised: AnswerRefused, ConnectionLost, TimeoutError once the
        deadline has passed. Then, and where the caller is cancelled, the connection ends.
        """
        self._reusable = False
        self._reader = reader = ResponseParser(self._max_answer_bytes, to_head=head)
        answer: asyncio.Future[HttpReply] = self._loop.create_future()
        self._answer = answer
        self._transport.write(message)
        self._deadline = deadline
        deadline.watch(self)
        if self._timer is None or deadline.at < self._timer.when():
            self.reschedule(deadline.at)
        try:
            reply = await answer
            # A request that is still being written would run into the next one.
            self._reusable = reader.reusable and not self._transport.get_write_buffer_size()
        finally:
            deadline.unwatch(self)
            self._reader = self._answer = self._deadline = None
            if not self._reusable:
                self.abort()
        return reply

    def abort(self) -> None:
        """End the connection at once; an exchange under way fails with ConnectionLost."""
        self._ended = True
        self._transport.abort()

    # --- what the deadline calls --------------------------------------------------------------------------------------

    def expired(self) -> bool:
        """Whether nothing is waited for any more."""
        return self._answer is None or self._answer.done()

    def reschedule(self, when: float) -> None:
        """The deadline of the exchange under way has moved."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline.remaining() > _EARLY_S:
            self.reschedule(self._deadline.at)
        else:
            self._fail(TimeoutError())

    # --- what the event loop calls ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands, the TLS handshake included."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has a class of its own
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN | select.POLLRDHUP)

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer, or of one that nobody asked for."""
        if self._reader is None or self.expired():
            self.abort()
            return
        try:
            reply = self._reader.feed(data)
        except RemoteProtocolError as refused:
            self._fail(refused)
        else:
            self._complete(reply)

    def eof_received(self) -> None:
        """The provider has said all that it will: some answers are complete only then. The transport closes itself."""
        self._ended = True
        if self._reader is not None and self._peer_closed():
            self._complete(self._reader.end())

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, whoever ended it."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._fail(ConnectionLost())
        self._on_lost(self)

    def _peer_closed(self) -> bool:
        """Whether it was the provider who ended the connection; asyncio says so too where TLS was cut off below."""
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
