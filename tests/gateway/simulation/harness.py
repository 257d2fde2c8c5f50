"""The gateway's side of the callbacks: an HTTP server that keeps what it receives."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class CallbackReceiver:
    """`url` is the callback URL. `replies` are given in order, then `ok`; None closes the connection."""

    url: str = ""
    received: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)
    """Path, body and headers."""
    replies: deque[bytes | None] = field(default_factory=deque)


@asynccontextmanager
async def callback_receiver() -> AsyncIterator[CallbackReceiver]:
    """A receiver on a free port."""
    receiver = CallbackReceiver()

    async def receive(request: web.Request) -> web.Response:
        receiver.received.append((request.raw_path, await request.read(), dict(request.headers)))
        reply = receiver.replies.popleft() if receiver.replies else b"ok"
        if reply is None and request.transport is not None:
            request.transport.abort()
        return web.Response(body=reply, headers={"Content-Type": "text/plain"})

    app = web.Application()
    app.router.add_post("/{path:.*}", receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/callbacks/plain/secret-key/"
    try:
        yield receiver
    finally:
        await runner.cleanup()
