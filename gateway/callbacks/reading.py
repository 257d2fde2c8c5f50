"""How much of a connection is read: a bounded head, and nothing after it until its request is authenticated."""

import asyncio
from contextlib import suppress
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo  # aiohttp has no public name for it

from gateway.callbacks.response import SERVER

MAX_HEAD_BYTES = 32 * 1024
"""Of a request's line and its headers together: without this bound each caller without a key can fill a megabyte."""

_PIECE_BYTES = 1024
"""Parsed at a time until the head is complete. What follows it in the last piece is parsed with it: in a piece of the
usual size that is the body.
"""

_HELD_BYTES = 64 * 1024
"""Bytes after a head that wait for its authentication; then reading pauses."""

_TOO_LARGE = (
    "HTTP/1.1 431 Request Header Fields Too Large\r\n"
    f"Server: {SERVER}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
).encode()


class BoundedReader(web.RequestHandler):
    """Gives aiohttp's parser what it may parse."""

    __slots__ = ("_body", "_finished", "_has_more", "_head_room", "_held", "_transport")

    def __init__(self, http: web.Server, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(http, loop=loop, **options)
        self._transport: asyncio.Transport | None = None
        """aiohttp drops its own reference when it closes, and then a reply may still wait to be read."""
        self._head_room = MAX_HEAD_BYTES
        """Bytes that the head may still have; 0 when it is complete."""
        self._held: bytes | None = None
        """What followed a head that is not authenticated yet. Small chunks cost far more to parse than to send."""
        self._body: StreamReader = EMPTY_PAYLOAD
        """Of the last request."""
        self._has_more = False
        self._finished = False
        """Its last request has a reply, or is not HTTP. Everything that follows is ignored."""

    @property
    def has_more(self) -> bool:
        """Whether more than the request in progress has arrived."""
        return self._has_more or bool(self._messages)

    def begin_head(self) -> None:
        """The next byte is the first of a request."""
        self._head_room = MAX_HEAD_BYTES

    def head_too_large(self) -> None:
        """The head exceeds the bound. The reply is written, and nothing more is read."""

    def read_on(self) -> None:
        """Parse what followed the head, from now on as it arrives. aiohttp resumes reading when the body is read."""
        held, self._held = self._held, None
        if held:
            self.data_received(held)

    def data_received(self, data: bytes) -> None:
        """Read."""
        if self._finished:
            return
        if data and self._head_room:
            data = self._parse_head(data)
            if not data:
                return
        if self._held is not None:
            self._held += data
            if len(self._held) > _HELD_BYTES and self._transport is not None:
                with suppress(RuntimeError):  # it is closing
                    self._transport.pause_reading()
        elif data and self._body.is_eof():
            self._has_more = True
        else:  # aiohttp calls it without data, to go on parsing
            self._parse(data)

    def _parse_head(self, data: bytes) -> bytes:
        """Parse until the head is complete, and return the rest."""
        parsed = 0
        while not self._messages and parsed < len(data) and self._head_room:
            piece = data[parsed : parsed + min(_PIECE_BYTES, self._head_room)]
            self._parse(piece)
            parsed += len(piece)
            self._head_room -= len(piece)
        if self._messages:
            self._head_room, self._held, self._body = 0, b"", self._messages[-1][1]
        elif not self._head_room and self._transport is not None:
            self._finished = True
            with suppress(RuntimeError):
                self._transport.write(_TOO_LARGE)
                self._transport.pause_reading()
            self.head_too_large()
        return b"" if self._finished else data[parsed:]

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        # aiohttp has no public way to see a parse error. It would add one for each later piece, and their tracebacks
        # keep all pieces until garbage is collected: megabytes for each unauthenticated caller.
        if self._messages and isinstance(error := self._messages[-1][0], _ErrInfo):
            self._finished = True
            error.exc.__traceback__ = None
