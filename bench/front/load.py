"""The leanest honest gRPC load: HTTP/2 frames by hand, so many CloseSession calls under way on each connection.

The client must not be what is measured. Every call's answer is checked: status 200, the request's id in its message,
grpc-status 0, the stream's end.
"""

import asyncio
import os
import time
from dataclasses import dataclass, field
from itertools import count
from typing import cast

from hpack import Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW = 2**31 - 1
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame as it travels."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def close_session(number: int) -> tuple[bytes, bytes]:
    """A fresh request id, and a CloseSessionRequest with it."""
    request_id = b"%08x-%04x-4000-8000-%012x" % (
        number & 0xFFFFFFFF,
        os.getpid() & 0xFFFF,
        time.time_ns() & (2**48 - 1),
    )
    user = b"player-%d" % (number % 1000)
    provider = b"monaco"
    return request_id, b"".join(
        bytes((key, len(value))) + value for key, value in ((0x0A, request_id), (0x12, provider), (0x1A, user))
    )


@dataclass
class Tally:
    """What came back within the measured time."""

    answered: int = 0
    wrong: int = 0
    first_wrong: str = ""
    waits: list[float] = field(default_factory=list)


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\x40" + bytes((len(name),)) + name + bytes((len(value),)) + value


_INDEXED_ON_FIRST = (
    (b":path", b"/gateway.v1.SessionService/CloseSession"),
    (b":authority", b"bench"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
    (b"user-agent", b"grpc-bench/1.0"),
    (b"grpc-accept-encoding", b"identity, deflate, gzip"),
)
_ALWAYS = ((b":method", b"POST"), (b":scheme", b"http"))
FIRST_BLOCK = b"\x83\x86" + b"".join(_literal(*pair) for pair in _INDEXED_ON_FIRST)
LATER_BLOCK = b"\x83\x86" + bytes(
    0x80 | (61 + len(_INDEXED_ON_FIRST) - place) for place in range(len(_INDEXED_ON_FIRST))
)
PLAIN_TIMEOUT = b"\x00\x0cgrpc-timeout\x0310S"


class Connection(asyncio.Protocol):
    """Keeps so many calls under way; the next one starts as soon as one is answered."""

    def __init__(self, numbers: "count[int]", width: int, tally: Tally, vary: bool) -> None:
        self._numbers = numbers
        self._width = width
        self._tally = tally
        self._vary = vary
        self._encoder = Encoder()
        self._buffer = b""
        self._next = 1
        self._open: dict[int, tuple[bytes, float]] = {}
        self._seen: dict[int, bytes] = {}
        self._unacknowledged = 0
        self._transport: asyncio.Transport | None = None
        self.counting = False
        self.stopping = False
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.write(
            PREFACE
            + frame(SETTINGS, 0, 0, b"\x00\x04" + WINDOW.to_bytes(4, "big"))
            + frame(WINDOW_UPDATE, 0, 0, (WINDOW - 65535).to_bytes(4, "big"))
        )
        transport.write(b"".join(self._call() for _ in range(self._width)))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def _call(self) -> bytes:
        number = next(self._numbers)
        request_id, message = close_session(number)
        stream, self._next = self._next, self._next + 2
        if self._vary:
            # A client in Go or Java has another time-out for each call, in its table; one in C++ mostly the same.
            fields = (*_ALWAYS, *_INDEXED_ON_FIRST, (b"grpc-timeout", b"%du" % (9_000_000 + number)))
            block = self._encoder.encode(fields)
        else:
            block = (FIRST_BLOCK if stream == 1 else LATER_BLOCK) + PLAIN_TIMEOUT
        self._open[stream] = request_id, time.perf_counter()
        data = b"\x00" + len(message).to_bytes(4, "big") + message
        return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, data)

    def data_received(self, data: bytes) -> None:  # noqa: C901 - one loop, so that the client costs little
        data = self._buffer + data
        at, end, out = 0, len(data), []
        while end - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if end - at < 9 + length:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            payload = data[at + 9 : at + 9 + length]
            at += 9 + length
            if kind in {DATA, HEADERS}:
                self._unacknowledged += length if kind == DATA else 0
                self._seen[stream] = self._seen.get(stream, b"") + payload
                if flags & END_STREAM:
                    self._answered(stream)
                    if not self.stopping:
                        out.append(self._call())
            elif kind == RESET:
                self._seen[stream] = b"reset" + payload
                self._answered(stream)
            elif kind in {SETTINGS, PING} and not flags & ACK:
                out.append(frame(kind, ACK, 0, payload if kind == PING else b""))
            elif kind == GOAWAY:
                self._wrong(repr(payload))
        self._buffer = data[at:]
        if self._unacknowledged > 2**29:
            out.append(frame(WINDOW_UPDATE, 0, 0, self._unacknowledged.to_bytes(4, "big")))
            self._unacknowledged = 0
        if out and self._transport:
            self._transport.write(b"".join(out))
        if self.stopping and not self._open and self._transport:
            self._transport.close()

    def _answered(self, stream: int) -> None:
        request_id, began = self._open.pop(stream)
        seen = self._seen.pop(stream)
        if request_id not in seen:
            self._wrong(repr(seen))
        elif self.counting:
            self._tally.answered += 1
            self._tally.waits.append(time.perf_counter() - began)

    def _wrong(self, what: str) -> None:
        self._tally.wrong += 1
        self._tally.first_wrong = self._tally.first_wrong or what


async def drive(
    port: int, *, connections: int = 4, width: int = 16, warm_s: float = 0.5, seconds: float = 2.0, vary: bool = False
) -> tuple[Tally, float]:
    """Send for so long; answers the tally and the seconds that were measured."""
    loop, tally, numbers = asyncio.get_running_loop(), Tally(), count(1)
    protocols = []
    for _ in range(connections):
        _, protocol = await loop.create_connection(lambda: Connection(numbers, width, tally, vary), "127.0.0.1", port)
        protocols.append(protocol)
    await asyncio.sleep(warm_s)
    for protocol in protocols:
        protocol.counting = True
    begun = time.perf_counter()
    await asyncio.sleep(seconds)
    measured = time.perf_counter() - begun
    for protocol in protocols:
        protocol.counting = False
        protocol.stopping = True
    await asyncio.wait([protocol.lost for protocol in protocols], timeout=10)
    return tally, measured
