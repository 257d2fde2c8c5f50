"""A BufferedResponse sends what aiohttp would send."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import product

import pytest
from aiohttp import web

from adapters.contract import HttpReply
from gateway.callbacks.response import BufferedResponse

JSON = (("Content-Type", "application/json"), ("X-Twice", "a"), ("X-Twice", "b"))
REPLIES = (
    HttpReply(200, JSON, b'{"error":0}'),
    HttpReply(200, (), b"plain"),
    HttpReply(200, JSON),
    HttpReply(204, JSON, b"never sent"),
    HttpReply(304, (), b"never sent"),
    HttpReply(404),
    HttpReply(418, (("X", "é \t"),), b"\0\xff"),
    HttpReply(599, (), b"of no name"),
)
HEADS = (
    b"POST / HTTP/1.1\r\n",
    b"HEAD / HTTP/1.1\r\n",
    b"POST / HTTP/1.0\r\n",
    b"POST / HTTP/1.0\r\nConnection: keep-alive\r\n",
    b"POST / HTTP/1.1\r\nConnection: close\r\n",
)

LAST_HEAD = b"POST / HTTP/1.1\r\nConnection: close\r\n"
REST = b"Host: x\r\nContent-Length: 0\r\n\r\n"

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[int]:
    """A server with this handler; yields its port."""
    server = web.Server(handler)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await server.shutdown(1)


async def replies_to(port: int, head: bytes) -> list[tuple[bytes, list[bytes], bytes]]:
    """The replies to such a request, and to a second one if the connection stays open.

    Each is its status, its headers without the date, sorted, and everything up to the next reply.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    closes = b"close" in head or (b"1.0" in head and b"keep-alive" not in head)
    writer.write(head + REST + (b"" if closes else LAST_HEAD + REST))
    data = await reader.read()
    writer.close()
    return [_parsed(reply) for reply in data.split(b"HTTP/1.")[1:]]


def _parsed(reply: bytes) -> tuple[bytes, list[bytes], bytes]:
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    assert sum(header.startswith(b"Date: ") and header.endswith(b" GMT") for header in headers) == 1
    return status[2:], sorted(header for header in headers if not header.startswith(b"Date: ")), body


@pytest.mark.parametrize(("reply", "head"), list(product(REPLIES, HEADS)))
async def test_it_is_what_aiohttp_would_send(reply: HttpReply, head: bytes) -> None:
    """Status, headers and body are aiohttp's, for every kind of reply to every kind of request."""

    async def aiohttp_handler(request: web.BaseRequest) -> web.StreamResponse:
        headers = [*reply.headers, ("Server", "session-gateway")]
        return web.Response(status=reply.status, headers=headers, body=reply.body or None)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return BufferedResponse(request, reply)

    async with served(aiohttp_handler) as aiohttp_port, served(handler) as port:
        assert await replies_to(port, head) == await replies_to(aiohttp_port, head)


@pytest.mark.parametrize(
    "header",
    [("X", "a\r\nSet-Cookie: b"), ("X", "a\nb"), ("X", "\0"), ("X y", "a"), ("", "a"), ("X", "\ud800")]
    + [(name, "0") for name in ("Content-Length", "transfer-encoding", "CONNECTION", "Date", "Server")],
)
async def test_a_header_that_cannot_be_sent_is_refused(header: tuple[str, str]) -> None:
    """An adapter can neither add a line to the head nor set the framing."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        with pytest.raises(ValueError, match="cannot be sent"):
            BufferedResponse(request, HttpReply(200, (header,)))
        return BufferedResponse(request, HttpReply(200))

    async with served(handler) as port:
        assert [status for status, _, _ in await replies_to(port, HEADS[0])] == [b"200 OK"] * 2


async def test_a_caller_that_does_not_read_gets_no_more_replies() -> None:
    """Replies to a caller that sends on without reading do not fill the memory."""
    answered = 0
    received = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal answered
        answered += 1
        received.set()
        return BufferedResponse(request, HttpReply(200, (), b"x" * 1_000_000))

    async with served(handler) as port:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write((HEADS[0] + REST) * 100)
        await asyncio.wait_for(received.wait(), 60)
        with suppress(TimeoutError):
            while answered < 100:
                received.clear()
                await asyncio.wait_for(received.wait(), 0.5)
        assert 0 < answered < 50
        writer.transport.abort()


async def test_a_caller_that_has_disconnected_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """A reply to a disconnected caller logs no error."""
    gone, tried = asyncio.Event(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        gone.set()
        await asyncio.sleep(0)
        tried.set()
        return BufferedResponse(request, HttpReply(200))

    async with served(handler) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEADS[0] + REST)
        async with asyncio.timeout(60):
            await tried.wait()
        writer.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
