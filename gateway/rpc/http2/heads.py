"""The heads of requests, read, and the heads and ends of answers, written (RFC 7541, and gRPC over HTTP/2).

What a peer sends is mostly the same for each call, and then it is read once. Answers are written without a table.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote_from_bytes

from hpack.exceptions import HPACKError
from hpack.hpack import decode_integer
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from gateway.rpc.http2.frames import ConnectionBroken, ErrorCode

TABLE_BYTES = 4096
"""The peer's table of repeated headers: HTTP/2's usual size."""

HEADER_BYTES = 16_384
"""The longest head of a request, counted as RFC 9113 section 6.5.2 counts. grpcio refuses longer ones too."""

MOST_READ = 4 * HEADER_BYTES
"""A longer one is refused, and up to here alone: it is read to its end for the table's sake."""

MOST_KEPT = 200
"""Heads that a connection keeps as they were read."""

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Head:
    """What opens a call, but for its deadline, which is another for each call."""

    path: str
    metadata: Metadata
    http_status: int = 200
    """Another where this is no gRPC request: what to answer."""
    encoding: str = "identity"


class Opened(NamedTuple):
    """A head with the seconds that the caller waits; None where it does not say."""

    head: Head
    timeout_s: float | None


TOO_LONG = Opened(Head("", (), 431), None)
"""What opens no call: its fields are too long."""


class _Literal(NamedTuple):
    name: bytes
    value: bytes
    past: int


_Fields = list[tuple[bytes, bytes]]


class Heads:
    """Reads the heads of one connection, in their order."""

    def __init__(self) -> None:
        self._table = HeaderTable()
        self._blocks: dict[bytes, Opened] = {}
        """What the same bytes mean, as long as the table does not change."""
        self._heads: dict[tuple[tuple[bytes, bytes], ...], Head] = {}

    def read(self, block: bytes) -> Opened | None:
        """A request's head; None where its fields are not those of a request. Raises ConnectionBroken."""
        kept = self._blocks.get(block)
        if kept is not None:
            return kept
        try:
            fields, changed = self._fields(block)
        except (HPACKError, IndexError) as error:
            raise ConnectionBroken(ErrorCode.COMPRESSION_ERROR, "the header block cannot be read") from error
        try:
            opened = TOO_LONG if fields is None else self._opened(fields)
        except ValueError:  # UnicodeDecodeError, binascii.Error are such
            opened = None
        if changed or len(self._blocks) >= MOST_KEPT:
            self._blocks.clear()
        if opened is not None and opened is not TOO_LONG and not changed:
            self._blocks[block] = opened
        return opened

    def _opened(self, fields: _Fields) -> Opened:
        """What the fields say. Raises ValueError."""
        timeout_s = None
        for place, (name, value) in enumerate(fields):
            if name == b"grpc-timeout":
                timeout_s = seconds_of(value)
                del fields[place]
                break
        key = tuple(fields)
        head = self._heads.get(key)
        if head is None:
            head = _head(fields)
            if len(self._heads) >= MOST_KEPT:
                self._heads.clear()
            self._heads[key] = head
        return Opened(head, timeout_s)

    def _fields(self, block: bytes) -> tuple[_Fields | None, bool]:
        """The fields, None for too long ones, and whether what the same bytes mean has changed. Raises HPACKError…"""
        table, fields, at, size, changed = self._table, _Fields(), 0, 0, False
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = (first & 0x7F, at + 1) if first != 0xFF else _integer(block, at, 7)
                name, value = table.get_by_index(index)
            elif first & 0x40:
                name, value, at = self._literal(block, at, 6)
                table.add(name, value)
                changed = True
            elif first & 0x20:
                table.maxsize, at = _integer(block, at, 5)
                changed = True
                if fields or table.maxsize > TABLE_BYTES:
                    raise HPACKError
                continue
            else:
                name, value, at = self._literal(block, at, 4)
            fields.append((name, value))
            size += len(name) + len(value) + 32
            if size > MOST_READ:
                raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, f"headers of more than {MOST_READ} bytes")
        return fields if size <= HEADER_BYTES else None, changed

    def _literal(self, block: bytes, at: int, prefix: int) -> _Literal:
        index, at = _integer(block, at, prefix)
        if index:
            name = self._table.get_by_index(index)[0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return _Literal(name, value, at)


def _integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    most = (1 << prefix) - 1
    short = block[at] & most
    if short < most:
        return short, at + 1
    value, used = decode_integer(block[at : at + 6], prefix)  # longer ones are of no use
    return value, at + used


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    huffman = block[at] & 0x80
    length, at = _integer(block, at, 7)
    past = at + length
    if past > len(block):
        raise IndexError
    text = block[at:past]
    return (decode_huffman(text) if huffman else text), past


def _head(fields: _Fields) -> Head:
    """What a head without its time-out says. Raises ValueError."""
    pseudo: dict[bytes, bytes] = {}
    others: dict[bytes, bytes] = {}
    for name, value in fields:
        if name.startswith(b":"):
            if others or name in pseudo:
                raise ValueError("a pseudo-header out of its place")
            pseudo[name] = value
        else:
            others.setdefault(name, value)
    if not pseudo.keys() >= {b":method", b":path", b":scheme"} or any(name != name.lower() for name in others):
        raise ValueError("no head of a request")
    status = 200 if others.get(b"content-type", b"").startswith(b"application/grpc") else 415
    return Head(
        pseudo[b":path"].decode("ascii"),
        tuple(_metadatum(name, value) for name, value in fields if name in others for value in _values(name, value)),
        status if pseudo[b":method"] == b"POST" else 405,
        others.get(b"grpc-encoding", b"identity").decode("ascii"),
    )


def seconds_of(timeout: bytes) -> float:
    """A grpc-timeout. Raises ValueError."""
    digits, unit = timeout[:-1], timeout[-1:]
    if not digits.isdigit() or len(digits) > 8 or unit not in _UNITS:
        raise ValueError("no time-out")
    return int(digits) * _UNITS[unit]


def _values(name: bytes, value: bytes) -> list[bytes]:
    """What one field holds: each of several bytes in base64 is read by itself."""
    return value.split(b",") if name.endswith(b"-bin") else [value]


def _metadatum(name: bytes, value: bytes) -> tuple[str, str | bytes]:
    if name.endswith(b"-bin"):
        return name.decode("ascii"), binascii.a2b_base64(value + b"=" * (-len(value) % 4))
    return name.decode("ascii"), value.decode("ascii")


def _length(length: int) -> bytes:
    """A string's length, which is not Huffman coded."""
    if length < 127:
        return bytes((length,))
    rest, coded = length - 127, bytearray(b"\x7f")
    while rest >= 128:
        coded.append(rest & 0x7F | 0x80)
        rest >>= 7
    coded.append(rest)
    return bytes(coded)


def _field(name: bytes, value: bytes) -> bytes:
    """A header that no table remembers."""
    return b"\x00" + _length(len(name)) + name + _length(len(value)) + value


OPENING = b"\x88" + _field(b"content-type", b"application/grpc")
"""The head of every answer that is one."""

OK = _field(b"grpc-status", b"0")
"""The end of one that succeeded."""


def plain_answer(http_status: int) -> bytes:
    """The head of an answer to what is no gRPC request."""
    return _field(b":status", b"%d" % http_status) + _field(b"content-length", b"0")


def ending(code: int, message: str = "", metadata: Iterable[tuple[str, str | bytes]] = ()) -> bytes:
    """The end of an answer: its status, what is said of it, and its trailing metadata."""
    block = _field(b"grpc-status", b"%d" % code)
    if message:
        printable = quote_from_bytes(message.encode(), safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}~")
        block += _field(b"grpc-message", printable.encode())
    return block + written(metadata)


def written(metadata: Iterable[tuple[str, str | bytes]]) -> bytes:
    """Metadata as it travels: bytes in base64."""
    return b"".join(
        _field(name.encode(), value.encode() if isinstance(value, str) else base64.b64encode(value).rstrip(b"="))
        for name, value in metadata
    )
