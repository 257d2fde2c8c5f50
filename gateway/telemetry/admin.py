"""The admin listener: /healthz (the process runs), /readyz (it accepts traffic), /metrics."""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.telemetry.metrics import Metrics

CONNECTIONS = 100
"""Maximum number of open connections. A further one takes the place of the oldest that waits for a request."""

IDLE_S = 30.0
"""Seconds for the head of a request, and between two requests: longer than common scrape intervals."""

SEND_TIMEOUT_S = 10.0
"""Seconds without progress after which an answer is given up and its connection closed."""


class AdminServer:
    """Serves health, readiness and metrics. Slow callers are disconnected; no request body is read.

    `readiness_problems` returns what keeps the gateway from being ready, one sentence each; none means ready.
    """

    def __init__(self, metrics: Metrics, readiness_problems: Callable[[], Awaitable[tuple[str, ...]]]) -> None:
        self._metrics = metrics
        self._readiness_problems = readiness_problems
        application = web.Application(middlewares=[self._mark_busy, _limit_send_time])
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics_page)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=1.0, keepalive_timeout=IDLE_S, lingering_time=1.0
        )
        self._listeners: list[asyncio.Server] = []
        self._busy: set[web.RequestHandler] = set()
        """Connections with a request in a handler."""
        self._aborted: set[web.RequestHandler] = set()
        """Connections that lost their place, and still count for aiohttp."""

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections on listening sockets, which it closes when it stops."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listeners = [await loop.create_server(self._connection, sock=each) for each in sockets]

    async def stop(self) -> None:
        """Close the listener and all connections."""
        for listener in self._listeners:
            listener.close()
        await self._runner.cleanup()

    @property
    def connections(self) -> int:
        """Open connections."""
        http = self._runner.server
        return 0 if http is None else len(http.connections)

    def _connection(self) -> asyncio.Protocol:
        http = self._runner.server
        if http is None:
            return _RejectedConnection()
        self._aborted.intersection_update(http.connections)
        if len(http.connections) - len(self._aborted) >= CONNECTIONS:
            self._abort_oldest([each for each in http.connections if each not in self._aborted])
        return http()

    def _abort_oldest(self, connections: Sequence[web.RequestHandler]) -> None:
        """Abort the first one without a request in a handler, or the first one if all have one."""
        oldest = next((each for each in connections if each not in self._busy), connections[0])
        self._aborted.add(oldest)
        if oldest.transport is not None:
            oldest.transport.abort()

    @web.middleware
    async def _mark_busy(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._busy.add(request.protocol)
        try:
            return await handler(request)
        finally:
            self._busy.discard(request.protocol)

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        problems = await self._readiness_problems()
        if problems:
            return web.Response(status=503, text="".join(f"not ready: {problem}\n" for problem in problems))
        return web.Response(text="ready\n")

    async def _metrics_page(self, request: web.Request) -> web.Response:
        body, content_type = await self._metrics.scrape()
        return web.Response(body=body, headers={"Content-Type": content_type})


class _RejectedConnection(asyncio.Protocol):
    """Closes a connection that arrives while the server starts or stops."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@web.middleware
async def _limit_send_time(request: web.Request, handler: Handler) -> web.StreamResponse:
    connection = None if request.transport is None else request.transport.get_extra_info("socket")
    if (
        sys.platform == "linux" and connection is not None
    ):  # the kernel enforces it, also after the handler has returned
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(SEND_TIMEOUT_S * 1000))
    return await handler(request)
