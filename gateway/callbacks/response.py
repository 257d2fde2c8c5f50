"""Writes a reply in one piece, with a cached head.

aiohttp builds the head for each response, which takes longer than everything else that it does for a callback.
"""

import re
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time

from aiohttp import HttpVersion10, web
from aiohttp.abc import AbstractStreamWriter

from adapters.contract import Headers, HttpReply

SERVER = "session-gateway"
"""Replaces aiohttp's, which names itself and Python with their versions."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_RESERVED = frozenset({"connection", "content-length", "date", "server", "transfer-encoding"})
"""Headers that only the server sets."""


class BufferedResponse(web.StreamResponse):
    """A reply that is written at once. Raises ValueError if HTTP cannot carry its headers."""

    def __init__(self, request: web.BaseRequest, reply: HttpReply, *, closes: bool = False) -> None:
        """`closes` closes the connection after it."""
        super().__init__(status=reply.status)
        # A body that has not arrived by now is not read.
        self._stays_open = not closes and bool(request.keep_alive) and request.content.is_eof()
        connection = _connection(old=request.version <= HttpVersion10, stays_open=self._stays_open)
        bodiless = reply.status < 200 or reply.status in {204, 304}
        body = b"" if bodiless or request.method == "HEAD" else reply.body
        # The length in a reply to HEAD is that of the body that is not sent.
        length = None if bodiless or (request.method == "HEAD" and not reply.body) else len(reply.body)
        self._bytes = _head(reply.status, reply.headers, connection, length, bool(body)) + _date(int(time())) + body

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open after it."""
        return self._stays_open

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write it. Raises ConnectionResetError if the caller has disconnected."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the caller has disconnected")
        transport.write(self._bytes)
        self._writer = request.writer
        return self._writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Wait for a caller that reads slowly, so that its replies do not fill the memory."""
        await self._writer.drain()


@lru_cache(maxsize=1024)
def refuse_unsendable(headers: Headers) -> None:
    """Raise ValueError if HTTP cannot carry these headers, or if only the server sets them."""
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value) or name.lower() in _RESERVED:
            raise ValueError(f"header {name!r} of a reply cannot be sent: it is malformed, or only the server sets it")


def _connection(*, old: bool, stays_open: bool) -> str:
    """The Connection header; empty for the default of the HTTP version."""
    if stays_open:
        return "keep-alive" if old else ""
    return "" if old else "close"


@lru_cache(maxsize=1024)
def _head(status: int, headers: Headers, connection: str, length: int | None, has_body: bool) -> bytes:
    """The head, without the date."""
    reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    refuse_unsendable(headers)
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers), f"Server: {SERVER}"]
    if has_body:
        has_type = any(name.lower() == "content-type" for name, _ in headers)
        lines += [] if has_type else ["Content-Type: application/octet-stream"]
    lines += [] if length is None else [f"Content-Length: {length}"]
    lines += [f"Connection: {connection}"] if connection else []
    return "\r\n".join((*lines, "")).encode()


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    """The Date header, and the end of the head."""
    return f"Date: {formatdate(second, usegmt=True)}\r\n\r\n".encode()
