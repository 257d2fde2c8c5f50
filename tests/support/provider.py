"""A provider's HTTP side, on a real socket, that behaves as a test sets it and records what it received."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

SUCCESS = b'{"error":0,"description":"Success"}'


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answering(status: int = 200, body: bytes = SUCCESS, headers: dict[str, str] | None = None) -> Behaviour:
    """Answer at once."""

    async def behave(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return behave


def answering_after(release: asyncio.Event) -> Behaviour:
    """Answer with success once the event is set."""

    async def behave(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(body=SUCCESS)

    return behave


async def hanging(request: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def resetting(request: web.Request) -> web.StreamResponse:
    """Drop the connection once the request is read."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@dataclass
class ScriptedProvider:
    """Behaves as `behaviour` says, for every request until it is changed."""

    behaviour: Behaviour = field(default_factory=answering)
    received: list[Received] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    base_url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.received.append(Received(request.method, request.path, dict(request.headers), body))
        self.arrived.set()
        return await self.behaviour(request)


@asynccontextmanager
async def scripted_provider() -> AsyncIterator[ScriptedProvider]:
    """A provider on a free port."""
    provider = ScriptedProvider()
    runner = web.ServerRunner(web.Server(provider.handle), shutdown_timeout=0.1)  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield provider
    finally:
        await runner.cleanup()
