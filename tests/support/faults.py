"""Faults between a provider and its caller, as values: `fault_proxy` injects them."""

import random
import zlib
from dataclasses import dataclass
from enum import StrEnum, unique
from functools import cache

_MIB = 1024 * 1024


@unique
class ResetPoint(StrEnum):
    """When a connection is reset."""

    BEFORE = "before"
    """As the request begins to arrive, and before any of it is read."""
    DURING = "during"
    """With half of the request read."""
    AFTER = "after"
    """Once the provider has executed the request, and before any answer."""


@dataclass(frozen=True, slots=True)
class Down:
    """Nothing listens: connections are refused."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Each connection is reset as soon as it is accepted."""


@dataclass(frozen=True, slots=True)
class Blackhole:
    """Connections are neither accepted nor refused."""


@dataclass(frozen=True, slots=True)
class Latency:
    """The answer comes whole, and late."""

    seconds: float = 0.1


@dataclass(frozen=True, slots=True)
class Hang:
    """The request is read, and no answer ever comes; `executed` says whether the provider got it."""

    executed: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is lost, with a RST."""

    moment: ResetPoint


@dataclass(frozen=True, slots=True)
class SlowAnswer:
    """The provider executes the request, and its answer comes byte by byte, from its head on or only its body."""

    head: bool = False
    interval_s: float = 0.05


@dataclass(frozen=True, slots=True)
class Truncate:
    """The provider executes the request; the connection ends, in order, in the middle of the answer's body."""


@dataclass(frozen=True, slots=True)
class WrongType:
    """The provider executes the request; its answer claims to be an image."""


@dataclass(frozen=True, slots=True)
class ReplacedAnswer:
    """The provider gets the request only where `executed`; these bytes are the answer, and then the end of it."""

    name: str
    answer: bytes
    executed: bool = False

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Huge:
    """The provider does not get the request; the answer's body is of this size, its length not announced."""

    size: int = 64 * _MIB


@dataclass(frozen=True, slots=True)
class KeepAliveRace:
    """An answered connection is closed without notice, at the same moment as the next request is written to it.

    `seen` says that the request arrived first, and was not read. Otherwise the connection ends at a random time, up
    to `within_s` seconds after the answer.
    """

    seen: bool = True
    within_s: float = 0.002

    def pause(self) -> float:
        """Seconds from an answer to the end."""
        return random.uniform(0, self.within_s)  # noqa: S311 - no secret


Fault = (
    Down
    | Refuse
    | Blackhole
    | Latency
    | Hang
    | Reset
    | SlowAnswer
    | Truncate
    | WrongType
    | ReplacedAnswer
    | Huge
    | KeepAliveRace
)


def status(code: int, reason: str = "Simulated", *, executed: bool = False) -> ReplacedAnswer:
    """An HTTP status with a page of text and not of the dialect."""
    return ReplacedAnswer(f"status {code}{' though executed' * executed}", _page(code, reason, "text/plain"), executed)


def garbage() -> ReplacedAnswer:
    """What is not even HTTP."""
    return ReplacedAnswer("garbage", b"\x00\xff this is not HTTP\r\n\r\n")


def nonsense() -> ReplacedAnswer:
    """A 200 in JSON that no dialect knows."""
    return ReplacedAnswer("nonsense", _page(200, "OK", "application/json", b'\x00\xff{"not": any dialect'))


def page() -> ReplacedAnswer:
    """A 200 that is a page for people, as a captive portal or a balancer answers."""
    return ReplacedAnswer("page", _page(200, "OK", "text/html", b"<!doctype html><title>Welcome</title>"))


def redirect(location: str) -> ReplacedAnswer:
    """A 307 to another place."""
    head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    return ReplacedAnswer("redirect", head.encode())


@cache
def gzip_bomb(size: int = 64 * _MIB) -> ReplacedAnswer:
    """A 200 that was asked to be as it is, comes compressed, and inflates to `size` bytes."""
    inflated = zlib.compressobj(9, wbits=31)
    bomb = b"".join(inflated.compress(bytes(_MIB)) for _ in range(size // _MIB)) + inflated.flush()
    return ReplacedAnswer("gzip bomb", _page(200, "OK", "application/json", bomb, "Content-Encoding: gzip\r\n"))


def _page(code: int, reason: str, kind: str, body: bytes | None = None, more: str = "") -> bytes:
    body = f"simulated HTTP status {code}".encode() if body is None else body
    head = f"HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
