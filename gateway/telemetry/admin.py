"""What operations ask over HTTP: /healthz (the process lives), /readyz (it may be sent traffic), /metrics."""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.telemetry.metrics import Metrics

CONNECTIONS = 100
"""At once; more are closed as they come."""

IDLE_S = 30.0
"""For a request's head to come, and between two: longer than who looks after a gateway commonly waits."""

UNTAKEN_S = 10.0
"""An answer of which the caller takes nothing for so long is given up with its connection."""


class AdminServer:
    """Serves health, readiness and metrics. Slow callers are cut off; no request's body is read.

    `obstacles` answers what keeps the gateway from being ready, one sentence each; none means ready.
    """

    def __init__(self, metrics: Metrics, obstacles: Callable[[], Awaitable[tuple[str, ...]]]) -> None:
        self._metrics = metrics
        self._obstacles = obstacles
        application = web.Application(middlewares=[_given_up_untaken])
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._exposition)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=1.0, keepalive_timeout=IDLE_S, lingering_time=1.0
        )
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 takes a free one. Answers the port. Raises OSError where the address is taken."""
        await self._runner.setup()
        self._listener = await asyncio.get_running_loop().create_server(self._connection, host, port)
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Hang up."""
        if self._listener is not None:
            self._listener.close()
        await self._runner.cleanup()

    def _connection(self) -> asyncio.Protocol:
        http = self._runner.server
        return _Refused() if http is None or len(http.connections) >= CONNECTIONS else http()

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        obstacles = await self._obstacles()
        if obstacles:
            return web.Response(status=503, text="".join(f"not ready: {obstacle}\n" for obstacle in obstacles))
        return web.Response(text="ready\n")

    async def _exposition(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.render()
        return web.Response(body=body, headers={"Content-Type": content_type})


class _Refused(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@web.middleware
async def _given_up_untaken(request: web.Request, handler: Handler) -> web.StreamResponse:
    wire = None if request.transport is None else request.transport.get_extra_info("socket")
    if sys.platform == "linux" and wire is not None:  # the system sees to it, also when we wait for nothing any more
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNTAKEN_S * 1000))
    return await handler(request)
