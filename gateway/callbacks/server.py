"""The HTTP listener for callbacks. It bounds the number of connections and the time of each.

It keeps no access log, because URLs hold callback keys.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from ssl import SSLContext
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.web_protocol import _ErrInfo  # aiohttp has no public name for it

from gateway.callbacks.handler import CallbackHandler
from gateway.callbacks.response import SERVER

log = structlog.get_logger(__name__)

KEEPALIVE_S = 75.0
"""Seconds that a connection may be idle between requests: longer than common load balancers wait."""

GRACE_S = 1.5
"""Seconds beyond the handler's time limit for a caller to read its reply, or to send the rest of its request."""

TICK_S = 0.25
"""Seconds between two checks for overdue connections."""

_FLUSH_S = 0.5
"""Seconds that the last replies have to leave when the server stops."""

_STOP_MARGIN_S = 1.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits for all connections together, and for each."""

    connections: int = 1000
    """Open at once; more are closed on arrival. A connection counts from the end of its TLS handshake. Before that,
    `receive_s` and the system's limit of open files bound it.
    """
    receive_s: float = 5.0
    """Seconds from accepting a connection, or from the first byte of a later request, to the end of the head. A TLS
    handshake has as long before that.
    """
    keepalive_s: float = KEEPALIVE_S


class CallbackServer:
    """Serves a CallbackHandler. Can be started once.

    `limits` may be replaced at any time. They hold for later connections and requests, but not for TLS handshakes.
    """

    def __init__(self, handler: CallbackHandler, limits: ConnectionLimits | None = None) -> None:
        self.limits = limits or ConnectionLimits()
        self.connections: set[CallbackConnection] = set()
        self.handler = handler
        self._http: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._expiring: asyncio.Task[None] | None = None
        self._all_closed = asyncio.Event()
        self._stopping = False

    async def start(self, host: str, port: int, ssl: SSLContext | None = None, *, shares_port: bool = False) -> int:
        """Listen, and return the port, which the system chooses for 0. Raises OSError.

        `shares_port` lets other workers of this gateway listen on the same port.
        """
        # Cancelling a handler with its connection could leave a Result applied and without its reply.
        http = self._http = web.Server(self.handler.handle, request_factory=_new_request, handler_cancellation=False)
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: CallbackConnection(http, self),
            host,
            port,
            ssl=ssl,
            backlog=1024,
            reuse_port=shares_port,
            ssl_handshake_timeout=None if ssl is None else self.limits.receive_s,
            ssl_shutdown_timeout=None if ssl is None else GRACE_S,
        )
        self._expiring = asyncio.create_task(self._expire_loop())
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Close the listener, and return when all requests in flight have a reply. Does nothing if not started."""
        if self._http is None or self._listener is None or self._expiring is None:
            return
        self._listener.close()
        await asyncio.sleep(0)  # accepted connections begin their first request
        self._stopping = True
        self._http.pre_shutdown()
        await self._http.shutdown(self.handler.time_limit_s + _STOP_MARGIN_S)
        if self.connections:
            self._all_closed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), _FLUSH_S)
        for connection in list(self.connections):
            connection.abort()
        self._expiring.cancel()
        await self._listener.wait_closed()

    @property
    def accepting(self) -> bool:
        """Whether the listener accepts connections."""
        return self._listener is not None and self._listener.is_serving()

    def accept(self, connection: "CallbackConnection") -> bool:
        """Add a connection, if the limit allows."""
        if self._stopping:
            return False
        if len(self.connections) >= self.limits.connections:
            log.warning("callback connection refused: too many", limit=self.limits.connections)
            return False
        self.connections.add(connection)
        return True

    def lost(self, connection: "CallbackConnection") -> None:
        """Remove a closed connection."""
        self.connections.discard(connection)
        if not self.connections:
            self._all_closed.set()

    async def _expire_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            for connection in list(self.connections):
                connection.abort_if_overdue(loop.time())


class CallbackConnection(web.RequestHandler):
    """One connection. It is aborted if its head, its body or the reading of its reply takes too long.

    aiohttp's own timers bound only an idle connection. Its own logs and error replies would hold the URL with the key.
    """

    __slots__ = ("_deadline", "_not_http", "_now", "_server", "_transport")

    def __init__(self, http: web.Server, server: CallbackServer) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            http,
            loop=loop,
            auto_decompress=False,  # a kilobyte can inflate to a gigabyte, and no dialect compresses
            keepalive_timeout=server.limits.keepalive_s,
            lingering_time=GRACE_S,
        )
        self._server = server
        self._now = loop.time
        self._deadline = inf
        """When it is aborted, by the loop's clock; inf while it is idle between requests."""
        self._transport: asyncio.Transport | None = None
        """aiohttp drops its own reference when it closes, and then a reply may still wait to be read."""
        self._not_http = False
        """It sent what is not HTTP: that has a reply, and everything after it is ignored."""

    @property
    def is_idle(self) -> bool:
        """Whether it waits for its next request; it has no deadline then."""
        return self._deadline == inf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept it, or abort it."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has its own class
        if not self._server.accept(self):
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
        if self._not_http:
            return
        if data and self.is_idle:  # aiohttp calls it without data too
            self._deadline = self._now() + self._server.limits.receive_s
        super().data_received(data)
        # aiohttp has no public way to see a parse error. It would add one for each later piece, and their tracebacks
        # keep all pieces until garbage is collected: megabytes for each unauthenticated caller.
        if self._messages and isinstance(error := self._messages[-1][0], _ErrInfo):
            self._not_http = True
            error.exc.__traceback__ = None

    def head_received(self) -> None:
        """Start the time for the body, the handler, and reading the reply."""
        self._deadline = self._now() + self._server.handler.time_limit_s + GRACE_S

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """Set the next deadline. aiohttp calls this when the reply has left; the handler writes the log."""
        if response.keep_alive:
            # An idle connection of an unauthenticated caller is not kept.
            self._deadline = inf if response.status != 404 else self._now() + self._server.limits.receive_s
        elif self._now() >= self._deadline - GRACE_S:
            self.force_close()  # the body is late and is not read any further

    def abort_if_overdue(self, now: float) -> None:
        """Abort it if its deadline has passed."""
        if self._transport is None:
            return
        if self.is_idle and self._transport.is_closing():  # its last reply is not read yet
            self._deadline = now + GRACE_S
        if now > self._deadline:
            log.info("callback connection was too slow", peer=self._peer())
            self._transport.abort()

    def abort(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def _peer(self) -> str:
        address = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(address[0]) if isinstance(address, tuple) else ""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Reply to what is not HTTP, without quoting it."""
        log.info("callback is not HTTP", peer=request.remote, status=status, error_type=type(exc).__name__)
        response = web.Response(status=status, headers={"Server": SERVER})
        response.force_close()
        return response


def _new_request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """The request of a head that has just arrived, as aiohttp makes it."""
    protocol.head_received()
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())
