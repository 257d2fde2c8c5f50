"""The HTTP listener for callbacks. It bounds the number of connections and the time of each.

It keeps no access log, because URLs hold callback keys.
"""

import asyncio
import socket
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import inf
from ssl import SSLContext
from typing import Any, cast

from aiohttp import web
from yarl import URL

from gateway.callbacks.handler import CallbackHandler
from gateway.callbacks.listener import Listener
from gateway.callbacks.places import Place, PlaceLimits, Places, Standing
from gateway.callbacks.reading import BoundedReader
from gateway.callbacks.response import SERVER
from gateway.telemetry.metrics import CallbackRejection

KEEPALIVE_S = 75.0
"""Seconds that a connection may be idle between requests: longer than common load balancers wait."""

GRACE_S = 1.5
"""Seconds beyond the handler's time limit for a caller to read its reply, or to send the rest of its request."""

TICK_S = 0.25
"""Seconds between two checks for overdue connections."""

_ACCEPTED_PER_TURN = 16
"""Connections that are accepted in one turn of the event loop, at most."""

_TURNS = 25
"""Turns of the event loop that a new connection has until it can be evicted for a newer one, at least. Its first
request is read in the third, or, after a TLS handshake with a near caller, in about the tenth.
"""

EVICTED_S = 2.0
"""Seconds after which an evicted connection is closed, give or take half. Until then nothing is read of it."""

_SPREAD = 64
"""Different times within that range."""

_ATTACH_S = 0.1
"""Seconds that connections just accepted have to begin their first request when the server stops."""

_FLUSH_S = 0.5
"""Seconds that the last replies have to leave when the server stops."""

_STOP_MARGIN_S = 1.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits for all connections together, and for each."""

    places: PlaceLimits = field(default_factory=PlaceLimits)
    """Open at once. A connection counts from its accept on, before its TLS handshake."""
    receive_s: float = 5.0
    """Seconds from accepting a connection, or from the first byte of a later request, to the end of the head. A TLS
    handshake has as long before that.
    """
    keepalive_s: float = KEEPALIVE_S


class CallbackServer:
    """Serves a CallbackHandler. Can be started once.

    `limits` may be replaced at any time. They hold for later connections and requests.
    """

    def __init__(self, handler: CallbackHandler, limits: ConnectionLimits | None = None) -> None:
        self.limits = limits or ConnectionLimits()
        self.connections: set[CallbackConnection] = set()
        self.handler = handler
        self._places = Places()
        self._rejections = handler.rejections
        self._http: web.Server | None = None
        self._ssl: SSLContext | None = None
        self._listener: Listener | None = None
        self._attaching: set[asyncio.Task[None]] = set()
        self._expiring: asyncio.Task[None] | None = None
        self._all_closed = asyncio.Event()
        self._stopping = False
        self._numbers = count()
        self._evicted: OrderedDict[CallbackConnection, asyncio.Task[None]] = OrderedDict()
        """Connections without a place that are not closed yet, the oldest first."""

    def start(self, sockets: list[socket.socket], ssl: SSLContext | None = None) -> None:
        """Accept connections on listening sockets, which it closes when it stops."""
        # Cancelling a handler with its connection could leave a Result applied and without its reply.
        self._http = web.Server(self._handle, request_factory=_new_request, handler_cancellation=False)
        self._ssl = ssl
        self._listener = Listener(sockets, self._accept, self._accepted_per_turn, self._evict_one)
        self._expiring = asyncio.create_task(self._expire_loop())

    async def stop(self) -> None:
        """Close the listener, and return when all requests in flight have a reply. Does nothing if not started."""
        if self._http is None or self._listener is None or self._expiring is None:
            return
        self._listener.close()
        if self._attaching:
            await asyncio.wait(self._attaching, timeout=_ATTACH_S)
        await asyncio.sleep(0)  # accepted connections begin their first request
        self._stopping = True
        self._http.pre_shutdown()
        await self._http.shutdown(self.handler.time_limit_s + _STOP_MARGIN_S)
        if self.connections:
            self._all_closed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), _FLUSH_S)
        for attaching in list(self._attaching):
            attaching.cancel()  # its TLS handshake is not complete
        for connection in list(self.connections):
            connection.abort()
        self._expiring.cancel()

    @property
    def accepting(self) -> bool:
        """Whether the listener accepts connections."""
        return self._listener is not None and self._listener.is_open

    @property
    def stopping(self) -> bool:
        """Whether new connections are aborted."""
        return self._stopping

    def lost(self, connection: "CallbackConnection") -> None:
        """Remove a closed connection."""
        self._places.free(connection.place)
        self.connections.discard(connection)
        if not self.connections:
            self._all_closed.set()

    def mark(self, connection: "CallbackConnection", standing: Standing) -> None:
        """Set what a connection has shown."""
        self._places.mark(connection.place, standing)

    def reject(self, reason: CallbackRejection, peer: str, **fields: object) -> None:
        """Count and sample a rejection."""
        self._rejections.add(reason, peer, **fields)

    def _accepted_per_turn(self) -> int:
        """So few that a new connection is not evicted before its first request is read."""
        limits = self.limits.places
        return max(1, min(_ACCEPTED_PER_TURN, limits.per_source // _TURNS, limits.new // _TURNS))

    def _evict_one(self) -> None:
        self._places.evict_one(self.limits.places)

    def _accept(self, accepted: socket.socket, peer: str) -> None:
        """Give a new connection a place, and attach it to the event loop, or close it."""
        place = self._places.take(peer, self.limits.places)
        if isinstance(place, CallbackRejection):
            accepted.close()
            self.reject(place, peer)
            return
        connection = CallbackConnection(cast("web.Server", self._http), self, place, peer)
        self.connections.add(connection)
        attaching = asyncio.create_task(self._attach(accepted, connection))
        place.evict = partial(self._evict, connection, attaching)
        self._attaching.add(attaching)
        attaching.add_done_callback(self._attaching.discard)

    async def _attach(self, accepted: socket.socket, connection: "CallbackConnection") -> None:
        """Let the event loop serve it, after its TLS handshake."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._ssl,
                ssl_handshake_timeout=None if self._ssl is None else self.limits.receive_s,
                ssl_shutdown_timeout=None if self._ssl is None else GRACE_S,
            )
        except ConnectionAbortedError:  # how event loops report that the handshake took too long
            self.reject(CallbackRejection.TOO_SLOW, connection.peer)
        except ConnectionError:
            pass  # it disconnected, as the checks of load balancers do
        except OSError as error:  # ssl.SSLError too
            self.reject(CallbackRejection.TLS_FAILED, connection.peer, error_type=type(error).__name__)
        finally:
            if not connection.is_attached:
                accepted.close()
                self.lost(connection)

    def _evict(
        self, connection: "CallbackConnection", attaching: "asyncio.Task[None]", reason: CallbackRejection
    ) -> None:
        """Close a connection whose place was given to a new one."""
        self.reject(reason, connection.peer)
        if connection.place.standing is not Standing.UNAUTHENTICATED:
            connection.end()
            return
        # A caller that is disconnected at once connects again at once: a flood would be as fast as the processor.
        connection.ignore()
        self._evicted[connection] = attaching
        # Not all at the same time: they would come back at the same time.
        after_s = EVICTED_S * (0.5 + next(self._numbers) % _SPREAD / _SPREAD)
        asyncio.get_running_loop().call_later(after_s, self._end_evicted, connection, attaching)
        if len(self._evicted) > self.limits.places.connections:
            self._end_evicted(*next(iter(self._evicted.items())))

    def _end_evicted(self, connection: "CallbackConnection", attaching: "asyncio.Task[None]") -> None:
        self._evicted.pop(connection, None)
        connection.abort()
        attaching.cancel()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = cast("CallbackConnection", request.protocol)
        return await self.handler.handle(request, connection)

    async def _expire_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            for connection in list(self.connections):
                connection.abort_if_overdue(loop.time())
            self._rejections.tick()


class CallbackConnection(BoundedReader):
    """One connection. It is aborted if its head, its body or the reading of its reply takes too long.

    aiohttp's own timers bound only an idle connection. Its own logs and error replies would hold the URL with the key.
    """

    __slots__ = ("_deadline", "_ignored", "_now", "_server", "peer", "place")

    def __init__(self, http: web.Server, server: CallbackServer, place: Place, peer: str) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            http,
            loop=loop,
            auto_decompress=False,  # a kilobyte can inflate to a gigabyte, and no dialect compresses
            keepalive_timeout=server.limits.keepalive_s,
            lingering_time=GRACE_S,
        )
        self.place = place
        self.peer = peer
        """The address of the other end."""
        self._server = server
        self._now = loop.time
        self._deadline = inf
        """When it is aborted, by the loop's clock; inf while it is idle between requests."""
        self._ignored = False

    @property
    def is_idle(self) -> bool:
        """Whether it waits for its next request; it has no deadline then."""
        return self._deadline == inf

    @property
    def is_attached(self) -> bool:
        """Whether the event loop serves it: its TLS handshake is complete."""
        return self._transport is not None

    def authenticated(self) -> None:
        """An authenticated request is in flight now."""
        self._server.mark(self, Standing.BUSY)
        self.read_on()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read, unless the server stops."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has its own class
        if self._server.stopping or self._ignored:
            self._transport.abort()
            return
        self._deadline = self._now() + self._server.limits.receive_s
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Report it to the server."""
        self._server.lost(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read. The time of a request starts with its first byte."""
        if self._ignored:
            return
        if data and self.is_idle:  # aiohttp calls it without data too
            self._deadline = self._now() + self._server.limits.receive_s
            self.begin_head()
        super().data_received(data)

    def head_too_large(self) -> None:
        """Close it in a while: a flood that is disconnected at once would be as fast as the processor."""
        self._server.reject(CallbackRejection.NOT_HTTP, self.peer, status=431, error_type="HeadTooLarge")
        asyncio.get_running_loop().call_later(GRACE_S, self.abort)

    def head_received(self) -> None:
        """Start the time for the body, the handler, and reading the reply."""
        self._deadline = self._now() + self._server.handler.time_limit_s + GRACE_S

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """Set the next deadline. aiohttp calls this when the reply has left; the handler writes the log."""
        if response.keep_alive:
            self._deadline = inf
            self._server.mark(self, Standing.IDLE)
            return
        if self._now() >= self._deadline - GRACE_S:
            self.force_close()  # the body is late and is not read any further
        if self.place.standing is Standing.BUSY:
            self._server.mark(self, Standing.ENDING)
        # Reading to the end of chunks of one byte would take more time than everything else.
        self._finished = self._finished or "Transfer-Encoding" in request.headers
        self.read_on()

    def abort_if_overdue(self, now: float) -> None:
        """Abort it if its deadline has passed."""
        if self._transport is None or self._ignored:
            return
        if self.is_idle and self._transport.is_closing():  # its last reply is not read yet
            self._deadline = now + GRACE_S
        if now > self._deadline:
            self._server.reject(CallbackRejection.TOO_SLOW, self.peer)
            self._transport.abort()

    def ignore(self) -> None:
        """Read nothing more."""
        self._ignored = True
        if self._transport is not None:
            with suppress(RuntimeError):  # it is closing
                self._transport.pause_reading()

    def end(self) -> None:
        """Close it once its last reply has left."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Reply to what is not HTTP, without quoting it."""
        self._server.reject(CallbackRejection.NOT_HTTP, self.peer, status=status, error_type=type(exc).__name__)
        response = web.Response(status=status, headers={"Server": SERVER})
        response.force_close()
        return response


def _new_request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """The request of a head that has just arrived, as aiohttp makes it."""
    protocol.head_received()
    if not message.path.startswith("/"):
        # A target with a scheme and a host is a proxy's, and no provider writes one: this path is not found. The host
        # is not read, because an invalid one would raise in aiohttp's task.
        message = message._replace(url=URL("/"))
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())
