"""HTTP/2's frames and what bounds them (RFC 9113), as far as a gRPC server needs them."""

from enum import IntEnum, unique
from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

HEAD = Struct(">HBBBL")
"""A frame's first nine bytes: its length in two parts, its type, its flags, its stream."""

_SETTING = Struct(">HL")

DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

LARGEST_WINDOW = 2**31 - 1
USUAL_WINDOW = 65_535
"""Bytes that either side may send before any SETTINGS or WINDOW_UPDATE."""

FRAME_BYTES = 16_384
"""The longest payload that we take: the least that may be allowed."""


@unique
class Setting(IntEnum):
    """What the sides tell one another, RFC 9113 section 6.5.2."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


@unique
class ErrorCode(IntEnum):
    """Why a stream or a connection ends, RFC 9113 section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class ConnectionBroken(Exception):
    """The peer did what no peer may: the connection ends with GOAWAY."""

    def __init__(self, code: ErrorCode, what: str) -> None:
        super().__init__(what)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame as it travels."""
    length = len(payload)
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values.items())
    return frame(SETTINGS, 0, 0, payload)


def window_update(stream: int, increment: int) -> bytes:
    """Lets the peer send so many bytes more."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def reset(stream: int, code: ErrorCode) -> bytes:
    """Ends a stream at once."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last_stream: int, code: ErrorCode, what: str = "") -> bytes:
    """Ends a connection; streams up to the last one are still carried out where there is no error."""
    return frame(GOAWAY, 0, 0, last_stream.to_bytes(4, "big") + code.to_bytes(4, "big") + what.encode())


def unpadded(flags: int, payload: bytes) -> bytes:
    """The payload of a DATA or HEADERS frame without its padding. Raises ConnectionBroken."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]


def block_of(flags: int, stream: int, payload: bytes) -> bytes:
    """The header block in a HEADERS frame. Raises ConnectionBroken."""
    payload = unpadded(flags, payload)
    if not flags & WITH_PRIORITY:
        return payload
    if len(payload) < 5 or int.from_bytes(payload[:4], "big") & LARGEST_WINDOW == stream:
        raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a priority that is none")
    return payload[5:]


def settings_of(flags: int, stream: int, payload: bytes) -> list[tuple[int, int]]:
    """What a SETTINGS frame says, in its order. Raises ConnectionBroken."""
    if stream:
        raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "settings of a stream")
    if len(payload) % 6 or (flags & ACK and payload):
        raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "settings of another length")
    values = [_SETTING.unpack_from(payload, at) for at in range(0, len(payload), _SETTING.size)]
    for key, value in values:
        if key == Setting.INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "a window over the largest")
        if key == Setting.MAX_FRAME_SIZE and not FRAME_BYTES <= value < 2**24:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a frame size that may not be")
        if key == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a push that is neither on nor off")
    return values


def increment_of(payload: bytes) -> int:
    """By how much a WINDOW_UPDATE frame widens a window. Raises ConnectionBroken."""
    if len(payload) != 4:
        raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "a window's update of another length")
    increment = int.from_bytes(payload, "big") & LARGEST_WINDOW
    if not increment:
        raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a window's update by nothing")
    return increment
