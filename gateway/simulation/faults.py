"""Faults on demand. Most are below the dialect, where a simulator cannot produce them.

Written `name` or `name:argument`, with `*2` for the next two requests only: `hang`, `status:503`, `code:998*2`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, unique


class FaultUnknown(ValueError):
    """The text names no fault, or a fault with an invalid argument."""


@unique
class ResetPoint(StrEnum):
    """When a connection is reset."""

    BEFORE = "before"
    """Before the request's body is read. The provider has done nothing."""
    AFTER = "after"
    """After the request is executed, before any answer."""
    MIDWAY = "midway"
    """In the middle of the answer's body."""


@dataclass(frozen=True, slots=True)
class Hang:
    """The request is read but not executed, and no answer comes until the client disconnects."""

    def __str__(self) -> str:
        return "hang"


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset."""

    moment: ResetPoint = ResetPoint.AFTER

    def __str__(self) -> str:
        return f"reset:{self.moment}"


@dataclass(frozen=True, slots=True)
class Status:
    """Nothing is executed. The answer is this HTTP status, without a body of the dialect."""

    status: int

    def __str__(self) -> str:
        return f"status:{self.status}"


@dataclass(frozen=True, slots=True)
class Garbage:
    """Nothing is executed. The answer is a 200 with an unreadable body or, with `on_wire`, not HTTP."""

    on_wire: bool = False

    def __str__(self) -> str:
        return "garbage:wire" if self.on_wire else "garbage"


@dataclass(frozen=True, slots=True)
class Huge:
    """Nothing is executed. The answer is a 200 with a body of `size` bytes, without Content-Length."""

    size: int = 64 * 1024 * 1024

    def __str__(self) -> str:
        return f"huge:{self.size}"


@dataclass(frozen=True, slots=True)
class Redirect:
    """Nothing is executed. The answer is a 307 to this location, by default one of the simulator."""

    location: str = "/redirected"

    def __str__(self) -> str:
        return f"redirect:{self.location}"


@dataclass(frozen=True, slots=True)
class Drip:
    """The request is executed. The answer's body comes byte by byte, at this interval in seconds."""

    interval_s: float = 0.1

    def __str__(self) -> str:
        return f"drip:{self.interval_s:g}"


@dataclass(frozen=True, slots=True)
class Slow:
    """The request is executed at once. The answer comes after this delay in seconds."""

    delay_s: float = 1.0

    def __str__(self) -> str:
        return f"slow:{self.delay_s:g}"


@dataclass(frozen=True, slots=True)
class DialectCode:
    """The provider answers with this code of its dialect."""

    code: str

    def __str__(self) -> str:
        return f"code:{self.code}"


Fault = Hang | Reset | Status | Garbage | Huge | Redirect | Drip | Slow | DialectCode


def is_executed(fault: Fault | None) -> bool:
    """Whether the simulator processes the request."""
    match fault:
        case Hang() | Status() | Garbage() | Huge() | Redirect() | Reset(ResetPoint.BEFORE):
            return False
        case _:
            return True


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault and the number of requests that it applies to; None for all until the plan is changed."""

    fault: Fault
    times: int | None = None

    def __str__(self) -> str:
        return str(self.fault) if self.times is None else f"{self.fault}*{self.times}"


Plan = tuple[Planned, ...]
"""Faults in order. Without any, requests are answered by the simulator."""


def next_fault(plan: Plan) -> tuple[Fault | None, Plan]:
    """The fault of the next request, and the plan for those after it."""
    if not plan:
        return None, ()
    first, *rest = plan
    if first.times is None:
        return first.fault, plan
    if first.times > 1:
        return first.fault, (Planned(first.fault, first.times - 1), *rest)
    return first.fault, tuple(rest)


def parse_fault(text: str) -> Planned:
    """Parse a fault. Raises FaultUnknown, which says what can be written instead."""
    fault, star, count = text.strip().rpartition("*")
    if not star:
        fault, times = count, None
    elif re.fullmatch(r"[1-9][0-9]{0,8}", count):
        times = int(count)
    else:
        raise FaultUnknown(f'the fault {text!a} has no number of requests after its "*"; write for example "hang*2"')
    name, _, argument = fault.partition(":")
    parse = _PARSERS.get(name)
    if parse is None:
        raise FaultUnknown(f"there is no fault {name!a}; there are {', '.join(_PARSERS)}")
    return Planned(parse(argument), times)


def _hang(argument: str) -> Fault:
    if argument:
        raise FaultUnknown('"hang" takes no argument')
    return Hang()


def _reset(argument: str) -> Fault:
    try:
        return Reset(ResetPoint(argument or ResetPoint.AFTER))
    except ValueError:
        raise FaultUnknown('a reset is "reset:before", "reset:after" or "reset:midway"') from None


def _status(argument: str) -> Fault:
    return Status(_integer(argument, 200, 599, 'an HTTP status from 200 to 599, such as "status:503"'))


def _garbage(argument: str) -> Fault:
    if argument not in {"", "wire"}:
        raise FaultUnknown('garbage is "garbage" (a body) or "garbage:wire" (not even HTTP)')
    return Garbage(on_wire=argument == "wire")


def _huge(argument: str) -> Fault:
    return Huge(_integer(argument, 1, 2**40, 'a number of bytes, such as "huge:1000000"')) if argument else Huge()


def _redirect(argument: str) -> Fault:
    if not argument.isprintable():
        raise FaultUnknown("a redirect's location must be printable, because it is sent as a header")
    return Redirect(argument) if argument else Redirect()


def _drip(argument: str) -> Fault:
    return Drip(_seconds(argument, "drip:0.1")) if argument else Drip()


def _slow(argument: str) -> Fault:
    return Slow(_seconds(argument, "slow:1.5")) if argument else Slow()


def _code(argument: str) -> Fault:
    if not argument:
        raise FaultUnknown('"code" needs a code of the dialect, such as "code:998"')
    return DialectCode(argument)


def _integer(text: str, minimum: int, maximum: int, expected: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text) or not minimum <= int(text) <= maximum:
        raise FaultUnknown(f"{text!a} is not {expected}")
    return int(text)


def _seconds(text: str, example: str) -> float:
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,9})?", text):
        raise FaultUnknown(f'{text!a} is not a number of seconds, such as "{example}"')
    return float(text)


_PARSERS: dict[str, Callable[[str], Fault]] = {
    "hang": _hang,
    "reset": _reset,
    "status": _status,
    "garbage": _garbage,
    "huge": _huge,
    "redirect": _redirect,
    "drip": _drip,
    "slow": _slow,
    "code": _code,
}
