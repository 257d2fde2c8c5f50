"""An HTTP/2 client that watches a server's health frame by frame, for what client libraries do not do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
ACK = END_STREAM = 1
END_HEADERS = 4


class Peer:
    """One connection to a gRPC server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.stream = 0
        """That of the frame that `until` returned last."""

    def send(self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        """Write one frame."""
        head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
        self._writer.write(head + payload)

    def begin(self, window: int = 65_535) -> None:
        """Open the connection with this window for each stream."""
        self._writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.send(SETTINGS, payload=b"\0\4" + window.to_bytes(4, "big"))

    def request(self, stream: int, path: str) -> None:
        """Send the headers of a call."""

        def field(name: bytes, value: bytes) -> bytes:
            return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value

        fields = (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
        self.send(HEADERS, END_HEADERS, stream, b"".join(field(*one) for one in fields))

    def watch(self, window: int = 65_535) -> None:
        """Open the connection with this window for each stream, and call Health.Watch on it."""
        self.begin(window)
        self.request(1, "/grpc.health.v1.Health/Watch")
        self.send(DATA, END_STREAM, 1, b"\0\0\0\0\0")

    async def until(self, *kinds: int) -> int:
        """Read up to a frame of one of these kinds. Returns its kind. Settings and pings are acknowledged."""
        async with asyncio.timeout(30):
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                kind, flags = head[3], head[4]
                if kind in {SETTINGS, PING} and not flags & ACK:
                    self.send(kind, ACK, payload=payload if kind == PING else b"")
                elif kind in kinds:
                    self.stream = int.from_bytes(head[5:], "big")
                    return kind


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Peer]:
    """Connect to this port of the host, and disconnect."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
