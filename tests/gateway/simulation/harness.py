"""Our side of the callbacks, for tests of the delivering: a real server that keeps what it hears."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Ear:
    """`url` is the callback URL; `replies` are given in order, then `ok`; None loses the connection."""

    url: str = ""
    heard: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    replies: deque[bytes | None] = field(default_factory=deque)


@asynccontextmanager
async def listening() -> AsyncIterator[Ear]:
    """An ear on a port of its own."""
    ear = Ear()

    async def hear(request: web.Request) -> web.Response:
        ear.heard.append((request.raw_path, await request.read(), dict(request.headers)))
        reply = ear.replies.popleft() if ear.replies else b"ok"
        if reply is None and request.transport is not None:
            request.transport.abort()
        return web.Response(body=reply, headers={"Content-Type": "text/plain"})

    app = web.Application()
    app.router.add_post("/{path:.*}", hear)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ear.url = f"http://127.0.0.1:{runner.addresses[0][1]}/callbacks/plain/secret-key/"
    try:
        yield ear
    finally:
        await runner.cleanup()
