"""Servers under load in turns, A B A B: what slows the machine slows all of them, and what is told is a ratio."""

import statistics
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.load import grpc, http
from bench.load.grpc import Call
from bench.load.tally import Tally
from bench.processes import Server

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Pace:
    """How long is measured: so many rounds of so many seconds for each server, each load warmed up before."""

    rounds: int = 5
    seconds: float = 2.5
    warm_s: float = 0.5


@dataclass(frozen=True)
class Load:
    """So many requests under way, or as many each second as a rate says."""

    under_way: int
    rate: float | None = None

    def __str__(self) -> str:
        return f"{self.rate:.0f} each second" if self.rate else f"{self.under_way} under way"


Drive = Callable[[Server, Load, Pace], Coroutine[Any, Any, Tally]]
"""Puts a server under a load for one round."""


def calling(path: str, calls: Iterator[Call], connections: int = 4) -> Drive:
    """Calls of one gRPC method, over so many connections."""

    def drive(server: Server, load: Load, pace: Pace) -> Coroutine[Any, Any, Tally]:
        return grpc.drive(
            HOST,
            server.port("grpc"),
            path,
            calls,
            under_way=load.under_way,
            connections=connections,
            rate=load.rate,
            warm_s=pace.warm_s,
            seconds=pace.seconds,
            processor=server.processor_s,
        )

    return drive


def posting(listener: str, requests: Iterator[bytes], expected: bytes) -> Drive:
    """HTTP requests to one listener, whose answers all hold the same."""

    def drive(server: Server, load: Load, pace: Pace) -> Coroutine[Any, Any, Tally]:
        return http.drive(
            HOST,
            server.port(listener),
            requests,
            connections=load.under_way,
            rate=load.rate,
            warm_s=pace.warm_s,
            seconds=pace.seconds,
            expected=expected,
            processor=server.processor_s,
        )

    return drive


@dataclass(frozen=True)
class Subject:
    """One server, and how it is driven."""

    server: Server
    drive: Drive
    lenient: bool = False
    """Whether some of its answers may be other than expected."""

    @property
    def name(self) -> str:
        return self.server.name


@dataclass(frozen=True)
class Row:
    """One server under one load, beside the first one of its company: medians over the rounds."""

    name: str
    load: Load
    rate: float
    """Answers a second."""
    cpu_us: float
    """Microseconds of its processor time for each answer."""
    ratio: float
    """Its rate by that of the first one in the same round; says nothing where the rates were given."""
    p50_ms: float
    p99_ms: float


async def in_turns(subjects: Sequence[Subject], loads: Sequence[Load], pace: Pace) -> list[Row]:
    """All under their loads, one at a time, round by round.

    Raises AssertionError for an answer that is not as expected.
    """
    tallies: list[list[Tally]] = [[] for _ in subjects]
    for _ in range(pace.rounds):
        for subject, load, kept in zip(subjects, loads, tallies, strict=True):
            tally = await subject.drive(subject.server, load, pace)
            assert tally.wrong == 0 or subject.lenient, f"{subject.name} answered {tally.first_wrong!r}"
            assert tally.answered, f"{subject.name} answered nothing in time"
            kept.append(tally)
    first = [_rate(tally) for tally in tallies[0]] if tallies else []
    return [_row(*each, first) for each in zip(subjects, loads, tallies, strict=True)]


async def at_full(subjects: Sequence[Subject], under_way: int, pace: Pace) -> list[Row]:
    """As fast as each can, with so much under way."""
    return await in_turns(subjects, [Load(under_way)] * len(subjects), pace)


async def at_less(subjects: Sequence[Subject], full: Sequence[Row], pace: Pace) -> list[Row]:
    """One at a time, and half of what each can do: how long an answer takes where nothing is in its way."""
    pace = replace(pace, seconds=pace.seconds / 2)
    alone = await in_turns(subjects, [Load(1)] * len(subjects), pace)
    halves = [Load(row.load.under_way, row.rate / 2) for row in full]
    return alone + await in_turns(subjects, halves, pace)


def _row(subject: Subject, load: Load, tallies: Sequence[Tally], first: Sequence[float]) -> Row:
    waits = [sorted(tally.waits) for tally in tallies]
    return Row(
        name=subject.name,
        load=load,
        rate=statistics.median(map(_rate, tallies)),
        cpu_us=statistics.median(tally.processor_s / tally.answered * 1e6 for tally in tallies),
        ratio=statistics.median(_rate(tally) / beside for tally, beside in zip(tallies, first, strict=True)),
        p50_ms=statistics.median(each[len(each) // 2] for each in waits) * 1e3,
        p99_ms=statistics.median(each[len(each) * 99 // 100] for each in waits) * 1e3,
    )


def _rate(tally: Tally) -> float:
    return tally.answered / tally.seconds
