"""An answer that is written whole is what aiohttp itself would send."""

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

LAST = b"POST / HTTP/1.1\r\nConnection: close\r\n"
REST = b"Host: x\r\nContent-Length: 0\r\n\r\n"

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[int]:
    """A server of this handler on a port of its own."""
    server = web.Server(handler)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await server.shutdown(1)


async def said(port: int, head: bytes) -> list[tuple[bytes, list[bytes], bytes]]:
    """All that is answered to such a request and to one more behind it, where the connection stays open.

    Of each answer its status, its headers without the date, sorted, and all that follows up to the next answer.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    closes = b"close" in head or (b"1.0" in head and b"keep-alive" not in head)
    writer.write(head + REST + (b"" if closes else LAST + REST))
    data = await reader.read()
    writer.close()
    return [_answer(answer) for answer in data.split(b"HTTP/1.")[1:]]


def _answer(answer: bytes) -> tuple[bytes, list[bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    assert sum(header.startswith(b"Date: ") and header.endswith(b" GMT") for header in headers) == 1
    return status[2:], sorted(header for header in headers if not header.startswith(b"Date: ")), body


@pytest.mark.parametrize(("reply", "head"), list(product(REPLIES, HEADS)))
async def test_it_is_what_aiohttp_would_send(reply: HttpReply, head: bytes) -> None:
    """Status, headers and body, for every kind of answer to every kind of request; the version is always our own."""

    async def theirs(request: web.BaseRequest) -> web.StreamResponse:
        headers = [*reply.headers, ("Server", "session-gateway")]
        return web.Response(status=reply.status, headers=headers, body=reply.body or None)

    async def ours(request: web.BaseRequest) -> web.StreamResponse:
        return BufferedResponse(request, reply)

    async with served(theirs) as their_port, served(ours) as our_port:
        assert await said(our_port, head) == await said(their_port, head)


@pytest.mark.parametrize(
    "header",
    [("X", "a\r\nSet-Cookie: b"), ("X", "a\nb"), ("X", "\0"), ("X y", "a"), ("", "a"), ("X", "\ud800")]
    + [(name, "0") for name in ("Content-Length", "transfer-encoding", "CONNECTION", "Date", "Server")],
)
async def test_a_header_that_cannot_travel_is_refused(header: tuple[str, str]) -> None:
    """Neither a line of its own nor a framing of its own comes out of an adapter: the caller learns that it is us."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        with pytest.raises(ValueError, match="cannot be sent"):
            BufferedResponse(request, HttpReply(200, (header,)))
        return BufferedResponse(request, HttpReply(200))

    async with served(handler) as port:
        assert [status for status, _, _ in await said(port, HEADS[0])] == [b"200 OK"] * 2


async def test_who_does_not_read_gets_no_more_answers() -> None:
    """Answers to a caller that asks on without reading do not pile up in memory."""
    answered = 0
    another = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal answered
        answered += 1
        another.set()
        return BufferedResponse(request, HttpReply(200, (), b"x" * 1_000_000))

    async with served(handler) as port:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write((HEADS[0] + REST) * 100)
        with suppress(TimeoutError):
            while answered < 100:
                another.clear()
                await asyncio.wait_for(another.wait(), 0.5)
        assert 0 < answered < 50
        writer.transport.abort()


async def test_a_caller_who_has_left_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """The answer has nobody to go to; that is told to nobody either."""
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
        async with asyncio.timeout(10):
            await tried.wait()
        writer.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
