"""Servers under load in turns, A B A B: what slows the machine slows all of them. The results are ratios."""

import statistics
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.load import grpc, http
from bench.load.grpc import Call
from bench.load.tally import Tally, percentile
from bench.processes import Server

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Timing:
    """How many rounds, how many seconds each server is measured for in a round, and how long it is warmed up before."""

    rounds: int = 5
    seconds: float = 2.5
    warm_s: float = 0.5


@dataclass(frozen=True)
class Load:
    """That many requests in flight, or that many each second."""

    in_flight: int
    rate: float | None = None

    def __str__(self) -> str:
        return f"{self.rate:.0f} each second" if self.rate else f"{self.in_flight} in flight"


Drive = Callable[[Server, Load, Timing], Coroutine[Any, Any, Tally]]
"""Puts a server under a load for one round."""


def calling(path: str, calls: Iterator[Call], connections: int = 4) -> Drive:
    """Calls of one gRPC method, over that many connections."""

    def drive(server: Server, load: Load, timing: Timing) -> Coroutine[Any, Any, Tally]:
        return grpc.drive(
            HOST,
            server.port("grpc"),
            path,
            calls,
            in_flight=load.in_flight,
            connections=connections,
            rate=load.rate,
            warm_s=timing.warm_s,
            seconds=timing.seconds,
            processor=server.processor_s,
        )

    return drive


def posting(listener: str, requests: Iterator[bytes], expected: bytes) -> Drive:
    """HTTP requests to one listener, whose answers all hold the same."""

    def drive(server: Server, load: Load, timing: Timing) -> Coroutine[Any, Any, Tally]:
        return http.drive(
            HOST,
            server.port(listener),
            requests,
            connections=load.in_flight,
            rate=load.rate,
            warm_s=timing.warm_s,
            seconds=timing.seconds,
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
    """One server under one load, compared with the first server: medians over the rounds."""

    name: str
    load: Load
    rate: float
    """Answers a second."""
    cpu_us: float
    """Microseconds of its processor time for each answer."""
    ratio: float
    """Its rate divided by the first server's in the same round. Without meaning where the load has a rate."""
    p50_ms: float
    p99_ms: float


async def in_turns(subjects: Sequence[Subject], loads: Sequence[Load], timing: Timing) -> list[Row]:
    """All under their loads, one at a time, round by round.

    Raises AssertionError for an answer that is not as expected.
    """
    tallies: list[list[Tally]] = [[] for _ in subjects]
    for _ in range(timing.rounds):
        for subject, load, kept in zip(subjects, loads, tallies, strict=True):
            tally = await subject.drive(subject.server, load, timing)
            assert tally.wrong == 0 or subject.lenient, f"{subject.name} answered {tally.first_wrong!r}"
            assert tally.answered, f"{subject.name} answered nothing in time"
            kept.append(tally)
    first = [_rate(tally) for tally in tallies[0]] if tallies else []
    return [_row(*each, first) for each in zip(subjects, loads, tallies, strict=True)]


async def at_full(subjects: Sequence[Subject], in_flight: int, timing: Timing) -> list[Row]:
    """As fast as each can, with that many requests in flight."""
    return await in_turns(subjects, [Load(in_flight)] * len(subjects), timing)


async def at_less(subjects: Sequence[Subject], full: Sequence[Row], timing: Timing) -> list[Row]:
    """One at a time, and half of what each can do: how long an answer takes at a low load."""
    timing = replace(timing, seconds=timing.seconds / 2)
    alone = await in_turns(subjects, [Load(1)] * len(subjects), timing)
    halves = [Load(row.load.in_flight, row.rate / 2) for row in full]
    return alone + await in_turns(subjects, halves, timing)


def _row(subject: Subject, load: Load, tallies: Sequence[Tally], first: Sequence[float]) -> Row:
    return Row(
        name=subject.name,
        load=load,
        rate=statistics.median(map(_rate, tallies)),
        cpu_us=statistics.median(tally.processor_s / tally.answered * 1e6 for tally in tallies),
        ratio=statistics.median(_rate(tally) / base for tally, base in zip(tallies, first, strict=True)),
        p50_ms=statistics.median(percentile(tally.latencies, 50) for tally in tallies) * 1e3,
        p99_ms=statistics.median(percentile(tally.latencies, 99) for tally in tallies) * 1e3,
    )


def _rate(tally: Tally) -> float:
    return tally.answered / tally.seconds
