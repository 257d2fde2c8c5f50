"""The listener for callbacks: so many connections, each with so much time, one handler, and no access log (the key
stands in the URL).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from ssl import SSLContext
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.web_protocol import _ErrInfo

from gateway.callbacks.handler import CallbackHandler
from gateway.callbacks.response import SERVER

log = structlog.get_logger(__name__)

KEEPALIVE_S = 75.0
"""Seconds that a connection may be idle between requests; longer than common load balancers wait."""

GRACE_S = 1.5
"""Beyond the handler's time, for a caller to take its answer; and to take back what it still sends of its request."""

TICK_S = 0.25
"""Between two looks at connections that are late."""

_FLUSH_S = 0.5
"""The last answers have this long to leave."""

_STOP_MARGIN_S = 1.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What callers together, and each one, may use of the listener."""

    connections: int = 1000
    """At once; more are closed as they come. One whose TLS handshake is under way is not counted yet: `receive_s` and
    the system's limit of open files bound these.
    """
    receive_s: float = 5.0
    """From accepting a connection, or from the first byte of a later request, to the whole head. TLS's handshake has as
    long before that.
    """
    keepalive_s: float = KEEPALIVE_S


class CallbackServer:
    """Serves a CallbackHandler until it is stopped. Started once.

    `limits` may be changed at any time, but for TLS's handshake; they hold for connections and requests from then on.
    """

    def __init__(self, handler: CallbackHandler, limits: ConnectionLimits | None = None) -> None:
        self.limits = limits or ConnectionLimits()
        self._handler = handler
        self._http: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._open: set[_Connection] = set()
        self._none_open = asyncio.Event()
        self._stopping = False

    async def start(self, host: str, port: int, ssl: SSLContext | None = None, *, shares_port: bool = False) -> int:
        """Listen, and answer the port: the system's choice where 0 is asked for. Raises OSError.

        `shares_port` lets other workers of this gateway listen on the same port.
        """
        # A handler that was cancelled with its connection could leave a Result applied and unanswered.
        http = self._http = web.Server(self._handler.handle, request_factory=_begun, handler_cancellation=False)
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: _Connection(http, self),
            host,
            port,
            ssl=ssl,
            backlog=1024,
            reuse_port=shares_port,
            ssl_handshake_timeout=None if ssl is None else self.limits.receive_s,
            ssl_shutdown_timeout=None if ssl is None else GRACE_S,
        )
        self._ticking = asyncio.create_task(self._expire_loop())
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Take no more, finish what is in flight, and return when all is answered. Harmless when not started."""
        if self._http is None or self._listener is None or self._ticking is None:
            return
        self._listener.close()
        await asyncio.sleep(0)  # connections that the system has handed over begin their first request
        self._stopping = True
        self._http.pre_shutdown()
        await self._http.shutdown(self._handler.time_limit_s + _STOP_MARGIN_S)
        await self._hang_up()
        self._ticking.cancel()
        await self._listener.wait_closed()

    @property
    def accepting(self) -> bool:
        """Whether the listener takes connections."""
        return self._listener is not None and self._listener.is_serving()

    @property
    def handler_s(self) -> float:
        """Seconds that the handler takes at the most."""
        return self._handler.time_limit_s

    def accept(self, connection: "_Connection", held: int) -> bool:
        """Whether there is room for one more connection than those held."""
        if self._stopping:
            return False
        if held >= self.limits.connections:
            log.warning("callback connection refused: too many", limit=self.limits.connections)
            return False
        self._open.add(connection)
        return True

    def lost(self, connection: "_Connection") -> None:
        """A connection is gone."""
        self._open.discard(connection)
        if not self._open:
            self._none_open.set()

    async def _hang_up(self) -> None:
        """Let the last answers leave, and wait no longer for whoever does not take them."""
        if self._open:
            self._none_open.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_S):
                    await self._none_open.wait()
        for connection in list(self._open):
            connection.abort()

    async def _expire_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            for connection in list(self._open):
                connection.tick(loop.time())


class _Connection(web.RequestHandler):
    """One connection, which is cut off where it is late with a head, with a body, or with taking its answer.

    What aiohttp would log or answer by itself holds the URL, and so the key. Its own timers bound a connection that is
    idle, and nothing else.
    """

    __slots__ = ("_due_at", "_now", "_server", "_unreadable", "_wire")

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
        self._now: Callable[[], float] = loop.time
        self._due_at = inf
        """When it is cut off; never while it is idle between requests."""
        self._wire: asyncio.Transport | None = None
        self._unreadable = False
        """What came was not HTTP, which is answered, and nothing behind it is looked at."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it where there is room."""
        self._wire = cast("asyncio.Transport", transport)  # uvloop has a class of its own
        assert self._manager is not None  # noqa: S101 - told to mypy
        if not self._server.accept(self, len(self._manager.connections)):
            self._wire.abort()
            return
        self._due_at = self._now() + self._server.limits.receive_s
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give its place back."""
        self._server.lost(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """With the first byte of a request its time begins."""
        if self._unreadable:
            return
        if data and self._due_at == inf:  # aiohttp calls it without data too
            self._due_at = self._now() + self._server.limits.receive_s
        super().data_received(data)
        if self._messages and isinstance(wrong := self._messages[-1][0], _ErrInfo):
            # aiohttp would say so of each piece that follows, and the traceback would keep all of them until garbage
            # is collected: some megabytes for each stranger's connection.
            self._unreadable = True
            wrong.exc.__traceback__ = None

    def begun(self) -> None:
        """A head is whole: the handler bounds the body, and what is behind it the time to take the answer."""
        self._due_at = self._now() + self._server.handler_s + GRACE_S

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """Keep no access log: the handler logs each callback without its key. The answer has left."""
        if response.keep_alive:
            # A stranger's connection is not kept while it is idle.
            self._due_at = inf if response.status != 404 else self._now() + self._server.limits.receive_s
        elif self._now() >= self._due_at - GRACE_S:
            self.force_close()  # its body has had its time, and is not read on

    def tick(self, now: float) -> None:
        """Cut it off where it is late. Called a few times a second."""
        if self._wire is None:
            return
        if self._due_at == inf and self._wire.is_closing():  # and waits for its last answer to be taken
            self._due_at = now + GRACE_S
        if now > self._due_at:
            log.info("callback connection was too slow", peer=self._peer())
            self._wire.abort()

    def abort(self) -> None:
        """Cut it off."""
        if self._wire is not None:
            self._wire.abort()

    def _peer(self) -> str:
        address = self._wire.get_extra_info("peername") if self._wire is not None else None
        return str(address[0]) if isinstance(address, tuple) else ""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP, and quote none of it."""
        log.info("callback is not HTTP", peer=request.remote, status=status, error=type(exc).__name__)
        response = web.Response(status=status, headers={"Server": SERVER})
        response.force_close()
        return response


def _begun(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """The request of a head that has just come whole, as aiohttp makes it."""
    protocol.begun()
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())
