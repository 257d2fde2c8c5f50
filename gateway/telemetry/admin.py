"""What operations ask over HTTP: /healthz (the process lives), /readyz (it may be sent traffic), /metrics."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.telemetry.metrics import Metrics


class AdminServer:
    """Serves health, readiness and metrics.

    `obstacles` answers what keeps the gateway from being ready, one sentence each; none means ready.
    """

    def __init__(self, metrics: Metrics, obstacles: Callable[[], Awaitable[tuple[str, ...]]]) -> None:
        self._metrics = metrics
        self._obstacles = obstacles
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._exposition)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 takes a free one. Answers the port. Raises OSError where the address is taken."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Hang up."""
        await self._runner.cleanup()

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
