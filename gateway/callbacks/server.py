"""The listener for callbacks: plain connections, one handler, no access log (the key stands in the URL)."""

import asyncio
from functools import partial
from ssl import SSLContext

import structlog
from aiohttp import web

from gateway.callbacks.handler import CallbackHandler
from gateway.callbacks.reply import SERVER

log = structlog.get_logger(__name__)

KEEPALIVE_S = 75.0
"""Seconds that a connection may be idle, or take to bring a request's head; longer than common load balancers wait."""

CONNECTION_LIMIT = 1000
"""Connections at once; more are closed as they come."""

_STOP_MARGIN_S = 1.0


class CallbackServer:
    """Serves a CallbackHandler until it is stopped. Started once."""

    def __init__(
        self,
        handler: CallbackHandler,
        *,
        keepalive_s: float = KEEPALIVE_S,
        connection_limit: int = CONNECTION_LIMIT,
    ) -> None:
        self._handler = handler
        self._keepalive_s = keepalive_s
        self._connection_limit = connection_limit
        self._http: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int, ssl: SSLContext | None = None, *, shares_port: bool = False) -> int:
        """Listen, and answer the port: the system's choice where 0 is asked for. Raises OSError.

        `shares_port` lets other workers of this gateway listen on the same port.
        """
        # A handler that was cancelled with its connection could leave a Result applied and unanswered.
        self._http = web.Server(self._handler.handle, handler_cancellation=False)
        connect = partial(self._connection, self._http)
        self._listener = await asyncio.get_running_loop().create_server(
            connect, host, port, ssl=ssl, reuse_port=shares_port
        )
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Take no more, finish what is in flight, and return when all is answered. Harmless when not started."""
        if self._http is None or self._listener is None:
            return
        self._listener.close()
        await asyncio.sleep(0)  # connections that the system has handed over begin their first request
        self._http.pre_shutdown()
        await self._http.shutdown(self._handler.time_limit_s + _STOP_MARGIN_S)
        await self._listener.wait_closed()

    @property
    def accepting(self) -> bool:
        """Whether the listener takes connections."""
        return self._listener is not None and self._listener.is_serving()

    def _connection(self, http: web.Server) -> asyncio.Protocol:
        if len(http.connections) >= self._connection_limit:
            log.warning("callback connection refused: too many", limit=self._connection_limit)
            return _Refused()
        return _Connection(
            http,
            loop=asyncio.get_running_loop(),
            auto_decompress=False,  # a kilobyte can inflate to a gigabyte, and no dialect compresses
            keepalive_timeout=self._keepalive_s,
        )


class _Connection(web.RequestHandler):
    """One connection. What aiohttp would log or answer by itself holds the URL, and so the key."""

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """Keep no access log: the handler logs each callback without its key."""

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


class _Refused(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
