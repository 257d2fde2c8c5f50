"""A provider without an HTTP library: it keeps every byte that it receives, and answers with any bytes."""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass
class Peer:
    """One connection as the provider sees it."""

    provider: "RawProvider"
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """The whole next request. Raises IncompleteReadError where the gateway disconnects."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        whole = head + await self.reader.readexactly(int(length[1]) if length else 0)
        self.provider.requests.append(whole)
        return whole

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hang(self) -> None:
        """Send nothing until the gateway disconnects."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        """End the connection with a RST."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Peer], Awaitable[None]]


@dataclass
class RawProvider:
    """What the provider has received."""

    port: int = 0
    tls: bool = False
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"


@asynccontextmanager
async def raw_provider(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawProvider]:
    """Serve `behaviour` once for each connection, on a free port of the loopback address."""
    provider = RawProvider(tls=tls is not None)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        provider.connections += 1
        try:
            await behaviour(Peer(provider, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the gateway disconnected
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        serving.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    provider.port = server.sockets[0].getsockname()[1]
    try:
        yield provider
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await server.wait_closed()


def answer(body: bytes = b"{}", head: bytes = b"HTTP/1.1 200 OK\r\n") -> bytes:
    """An answer with its Content-Length."""
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
