"""A served method, and a peer that says on a real socket what no library would."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from hpack import Encoder

from gateway.rpc.http2 import frames
from gateway.rpc.http2.limits import Limits
from gateway.rpc.http2.server import Http2Server

ECHO = "/test.Service/Echo"
COUNT = "/test.Service/Count"
EVERY = "/test.Service/Every"

REQUEST = b"\0\0\0\0\x02hi"


class Services:
    """What the tests call, and what they learn of how it went."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.cleaned = asyncio.Event()
        self.may_end = asyncio.Event()
        self.given = 0

    async def echo(self, request: bytes, context: Any) -> bytes:
        """Answers what it is sent; waits, fails or grows on demand."""
        self.started.set()
        try:
            match request:
                case b"wait":
                    await self.may_end.wait()
                case b"clean":
                    await self._cleaned_up()
                case b"abort":
                    await context.abort(grpc.StatusCode.NOT_FOUND, "50 % of ä", (("why-bin", b"\0\xff"),))
                case b"bug":
                    raise ValueError("a secret")
                case b"time":
                    return b"%.1f" % context.time_remaining()
                case b"metadata":
                    return repr([item for item in context.invocation_metadata() if item[0].startswith("x-")]).encode()
                case b"large":
                    return b"x" * 3_000_000
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return request

    async def _cleaned_up(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
            await self.may_end.wait()
            self.cleaned.set()

    async def count(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Answers so many messages of 1000 bytes."""
        try:
            for number in range(int(request)):
                self.given += 1
                yield b"%1000d" % number
        finally:
            self.cancelled.set()

    async def every(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Answers each request as it comes."""
        async for request in requests:
            yield request


@asynccontextmanager
async def served(
    limits: Limits | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Services, Http2Server, int]]:
    """Services on a free port."""
    services = Services()
    server = Http2Server(limits=limits)
    server.add_registered_method_handlers(
        "test.Service",
        {
            "Echo": grpc.unary_unary_rpc_method_handler(services.echo),
            "Count": grpc.unary_stream_rpc_method_handler(services.count),
            "Every": grpc.stream_stream_rpc_method_handler(services.every),
        },
    )
    port = server.bind("127.0.0.1", 0, tls)
    await server.start()
    try:
        yield services, server, port
    finally:
        await server.stop(0)


def head(path: str = ECHO, **more: str) -> bytes:
    """A request's header block, in a table that only this block uses."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, "content-type": "application/grpc"}
    fields.update((name.replace("_", "-"), value) for name, value in more.items())
    encoder = Encoder()
    encoder.header_table_size = 0  # it is told with the block, and nothing is remembered
    return encoder.encode(fields.items())


def call(stream: int, request: bytes = REQUEST, path: str = ECHO) -> bytes:
    """A whole unary call."""
    return frames.frame(frames.HEADERS, frames.END_HEADERS, stream, head(path)) + frames.frame(
        frames.DATA, frames.END_STREAM, stream, request
    )


class Peer:
    """Speaks HTTP/2 frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def frame(self) -> tuple[int, int, int, bytes]:
        """The next frame: its type, flags, stream and payload."""
        async with asyncio.timeout(10):
            high, low, kind, flags, stream = frames.HEAD.unpack(await self._reader.readexactly(9))
            return kind, flags, stream, await self._reader.readexactly(high << 8 | low)

    async def hung_up(self) -> None:
        """Wait until the server has closed the connection."""
        async with asyncio.timeout(10):
            while await self._reader.read(1000):
                pass

    async def until(self, kind: int) -> tuple[int, int, bytes]:
        """The next frame of this type: its flags, stream and payload."""
        while True:
            was, flags, stream, payload = await self.frame()
            if was == kind:
                return flags, stream, payload

    async def ended(self) -> frames.ErrorCode:
        """Why the server ends the connection, which it then closes."""
        _, _, payload = await self.until(frames.GOAWAY)
        async with asyncio.timeout(10):
            await self._reader.read()
        return frames.ErrorCode(int.from_bytes(payload[4:8], "big"))


@asynccontextmanager
async def connected(port: int, opening: bytes = frames.PREFACE + frames.settings({})) -> AsyncIterator[Peer]:
    """A peer that has opened its side."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(opening)
        yield Peer(reader, writer)
    finally:
        writer.close()
