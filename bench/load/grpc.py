"""A gRPC load: HTTP/2 by hand, a few connections with many calls in flight on each.

A client library in Python takes longer for a call than some servers do: it would be what is measured.
"""

import asyncio
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import NamedTuple, cast

from bench.load.tally import Tally, counted, ended, sent_at_rate

DEADLINE = b"10S"
"""Of each call, as gRPC writes it."""

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM = _ACK = 1
_END_HEADERS = 4
_MAX_WINDOW = 2**31 - 1
_FIRST_WINDOW = 65_535

_HEAD = struct.Struct(">HBBBI")
"""A frame's length in two parts, its kind, its flags, its stream."""
_PREFIX = struct.Struct(">BI")
"""Of a gRPC message: whether it is compressed, and its length."""


class Call(NamedTuple):
    """One call: its message as it travels, and what its answer has to hold."""

    message: bytes
    expected: bytes


@dataclass(slots=True)
class _Sent:
    expected: bytes
    at: float
    received: bytes = b""


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEAD.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def _literal(name: bytes, value: bytes, index: int = 0) -> bytes:
    """A header that both sides remember, its name by index of HPACK's table where it has one."""
    head = bytes([0x40 | index]) if index else bytes([0x40, len(name)]) + name
    return head + bytes([len(value)]) + value


def _headers(path: str, authority: str) -> tuple[bytes, bytes]:
    """The headers of a connection's first call, and of later ones, which refer to the first one's by index."""
    method_and_scheme = b"\x83\x86"  # POST, http
    first = (
        _literal(b":path", path.encode(), 4)
        + _literal(b":authority", authority.encode(), 1)
        + _literal(b"content-type", b"application/grpc", 31)
        + _literal(b"te", b"trailers")
        + _literal(b"grpc-timeout", DEADLINE)
    )
    remembered = bytes(0x80 | index for index in (66, 65, 64, 63, 62))
    return method_and_scheme + first, method_and_scheme + remembered


_OPENING = b"".join(
    (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        # No table of headers, no push, and windows that no measurement fills.
        _frame(_SETTINGS, 0, 0, struct.pack(">HIHIHI", 1, 0, 2, 0, 4, _MAX_WINDOW)),
        _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _MAX_WINDOW - _FIRST_WINDOW)),
    )
)


class _Connection(asyncio.Protocol):
    """Keeps `in_flight` calls in flight, or with 0 sends on `call` alone. Checks each answer."""

    def __init__(
        self,
        calls: Iterator[Call],
        in_flight: int,
        headers: tuple[bytes, bytes],
        tally: Tally,
        done: asyncio.Future[None],
    ) -> None:
        self._calls = calls
        self._in_flight = in_flight
        self._headers, self._later_headers = headers
        self._tally = tally
        self._done = done
        self._sent: dict[int, _Sent] = {}
        self._stream = 1
        self._window = _FIRST_WINDOW
        """Bytes that may be sent before the server's next WINDOW_UPDATE."""
        self._held_back = 0
        self._rest = b""
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop has another class
        self._out.append(_OPENING)
        now = time.perf_counter()
        for _ in range(self._in_flight):
            self._call(now)
        self._flush()

    def call(self, at: float) -> None:
        """Make one more call."""
        self._call(at)
        self._flush()

    def end_when_idle(self) -> None:
        """Close the connection if nothing is in flight."""
        if not self._sent and self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at, end = 0, len(data)
        while end - at >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            after = at + _HEAD.size + (high << 8 | low)
            if after > end:
                break
            self._on_frame(kind, flags, stream, data[at + _HEAD.size : after])
            at = after
        self._rest = data[at:]
        self._flush()
        if self._tally.stopping:
            self.end_when_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sent or not self._tally.stopping:
            self._tally.failed(b"connection lost")
        if not self._done.done():
            self._done.set_result(None)

    def _on_frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self._sent[stream].received += payload
            if flags & _END_STREAM:
                self._end(stream)
        elif kind == _HEADERS:
            if flags & _END_STREAM:
                self._end(stream, payload)
        elif kind == _RST_STREAM and stream in self._sent:
            self._end(stream, b"reset: " + payload)
        elif stream == 0:
            self._on_connection_frame(kind, flags, payload)

    def _on_connection_frame(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _WINDOW_UPDATE:
            self._widen(int.from_bytes(payload, "big"))
        elif kind in {_SETTINGS, _PING}:
            if not flags & _ACK:
                self._out.append(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        elif kind == _GOAWAY and not self._tally.stopping:
            self._tally.failed(b"GOAWAY: " + payload)

    def _widen(self, by: int) -> None:
        self._window += by
        held_back, self._held_back = self._held_back, 0
        now = time.perf_counter()
        for _ in range(held_back):
            self._call(now)

    def _end(self, stream: int, trailers: bytes = b"") -> None:
        sent = self._sent.pop(stream)
        message = sent.received[_PREFIX.size :]
        if sent.expected in message and _PREFIX.unpack_from(sent.received) == (0, len(message)):
            self._tally.succeeded(sent.at)
        else:
            self._tally.failed(sent.received + trailers)
        if self._in_flight and not self._tally.stopping:
            self._call(time.perf_counter())

    def _call(self, at: float) -> None:
        if self._window < _FIRST_WINDOW // 8:
            self._held_back += 1
            return
        call = next(self._calls)
        body = _PREFIX.pack(0, len(call.message)) + call.message
        stream, self._stream = self._stream, self._stream + 2
        self._sent[stream] = _Sent(call.expected, at)
        self._window -= len(body)
        self._out += (
            _frame(_HEADERS, _END_HEADERS, stream, self._headers),
            _frame(_DATA, _END_STREAM, stream, body),
        )
        self._headers = self._later_headers

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()


async def drive(
    host: str,
    port: int,
    path: str,
    calls: Iterator[Call],
    *,
    in_flight: int,
    connections: int,
    rate: float | None = None,
    warm_s: float,
    seconds: float,
    processor: Callable[[], float] = lambda: 0.0,
) -> Tally:
    """Call the method for that time, with `in_flight` calls in flight on all connections together.

    With `rate`, that many calls a second are made instead, however many are in flight.
    """
    loop = asyncio.get_running_loop()
    tally = Tally()
    connections = min(connections, in_flight)
    done: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
    protocols = []
    for number in range(connections):
        share = 0 if rate else len(range(number, in_flight, connections))
        connect = partial(_Connection, calls, share, _headers(path, f"{host}:{port}"), tally, done[number])
        _, protocol = await loop.create_connection(connect, host, port)
        protocols.append(protocol)
    turns = cycle(protocols)
    pacing = loop.create_task(sent_at_rate(tally, rate, lambda at: next(turns).call(at))) if rate else None
    await counted(tally, warm_s=warm_s, seconds=seconds, processor=processor)
    if pacing is not None:
        await pacing
    for protocol in protocols:
        protocol.end_when_idle()
    await ended(tally, done)
    return tally
