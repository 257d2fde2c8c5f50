"""Servers under load in turns, A B A B: what slows the machine slows all of them, and what is told is a ratio."""

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bench.loads.tally import Tally
from bench.processes import Server

WARM_S = 0.5
"""Each round's load runs for so long before it is counted."""

Drive = Callable[[Server, float], Awaitable[Tally]]
"""Puts a server under load for so many counted seconds."""


@dataclass(frozen=True)
class Pace:
    """How long is measured: so many rounds of so many seconds for each server."""

    rounds: int = 5
    seconds: float = 2.0


@dataclass(frozen=True)
class Subject:
    """One server under one load."""

    server: Server
    load: str
    """Such as `64 under way`."""
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
    load: str
    rate: float
    """Answers a second."""
    cpu_us: float
    """Microseconds of its processor time for each answer."""
    ratio: float
    """Its rate by that of the first one in the same round."""
    p50_ms: float
    p99_ms: float


async def in_turns(subjects: Sequence[Subject], pace: Pace) -> list[Row]:
    """All under load, one at a time, round by round. Raises AssertionError for an answer that is not as expected."""
    tallies: list[list[Tally]] = [[] for _ in subjects]
    for _ in range(pace.rounds):
        for subject, kept in zip(subjects, tallies, strict=True):
            tally = await subject.drive(subject.server, pace.seconds)
            assert tally.wrong == 0 or subject.lenient, f"{subject.name} answered {tally.first_wrong!r}"
            assert tally.answered, f"{subject.name} answered nothing in time"
            kept.append(tally)
    first = [_rate(tally) for tally in tallies[0]]
    return [_row(subject, kept, first) for subject, kept in zip(subjects, tallies, strict=True)]


def _row(subject: Subject, tallies: Sequence[Tally], first: Sequence[float]) -> Row:
    waits = [sorted(tally.waits) for tally in tallies]
    return Row(
        name=subject.name,
        load=subject.load,
        rate=statistics.median(map(_rate, tallies)),
        cpu_us=statistics.median(tally.processor_s / tally.answered * 1e6 for tally in tallies),
        ratio=statistics.median(_rate(tally) / beside for tally, beside in zip(tallies, first, strict=True)),
        p50_ms=statistics.median(each[len(each) // 2] for each in waits) * 1e3,
        p99_ms=statistics.median(each[len(each) * 99 // 100] for each in waits) * 1e3,
    )


def _rate(tally: Tally) -> float:
    return tally.answered / tally.seconds
