"""The matrix: each fault, at each adapter, a thousand times. The caller gets a true answer, in time."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.stress.expected import MIN_NOT_SENT, OF_FEW, ObservedCalls, certainty_figures, observe
from tests.stress.figures import Figure, Figures, at_most, none_of, stated, timed
from tests.stress.processes import StressEnvironment
from tests.stress.providers_harness import (
    ADAPTERS,
    DEFAULTS,
    LATE_S,
    SUCCESS,
    FaultyProvider,
    ProvidersHarness,
    Usage,
    new_markers,
    providers_harness,
)
from tests.support import faults
from tests.support.faults import (
    Blackhole,
    Down,
    Fault,
    Hang,
    Huge,
    KeepAliveRace,
    Latency,
    Refuse,
    Reset,
    ResetPoint,
    SlowAnswer,
    Truncate,
    WrongType,
)

WAITING_S = 0.5
"""The caller's deadline where no answer comes."""
ENOUGH_S = 5.0
DRIFT_MIB = 10.0

NOT_SENT = "UNAVAILABLE PROVIDER_UNREACHABLE NOT_SENT"
LOST = "UNAVAILABLE PROVIDER_CONNECTION_LOST UNKNOWN"
TIMEOUT = "DEADLINE_EXCEEDED PROVIDER_TIMEOUT UNKNOWN"
MALFORMED = "INTERNAL PROVIDER_ANSWER_MALFORMED UNKNOWN"
FAILED = "UNAVAILABLE PROVIDER_FAILED UNKNOWN"
THROTTLED = "UNAVAILABLE PROVIDER_FAILED REFUSED"
CREDENTIALS = "FAILED_PRECONDITION PROVIDER_CREDENTIALS_REJECTED REFUSED"


@dataclass(frozen=True)
class Case:
    """A fault, and what a call that meets it may come to."""

    name: str
    fault: Fault
    expected: tuple[str, ...]
    deadline_s: float = ENOUGH_S


def cases(elsewhere: str) -> tuple[Case, ...]:
    """All faults; `elsewhere` is where a redirect points to."""
    return (
        Case("down", Down(), (NOT_SENT,)),
        Case("refuse", Refuse(), (NOT_SENT, LOST)),
        Case("black hole", Blackhole(), (NOT_SENT,), WAITING_S),
        Case("latency", Latency(0.05), (SUCCESS,)),
        Case("hang", Hang(), (TIMEOUT,), WAITING_S),
        Case("hang, executed", Hang(executed=True), (TIMEOUT,), WAITING_S),
        *(Case(f"reset {moment}", Reset(moment), (LOST,)) for moment in ResetPoint),
        Case("drip head", SlowAnswer(head=True), (TIMEOUT,), WAITING_S),
        Case("drip body", SlowAnswer(), (TIMEOUT,), WAITING_S),
        Case("truncate", Truncate(), (LOST,)),
        Case("garbage", faults.garbage(), (MALFORMED,)),
        Case("nonsense", faults.nonsense(), (MALFORMED,)),
        Case("page", faults.page(), (MALFORMED,)),
        Case("huge", Huge(), (MALFORMED,)),
        Case("gzip bomb", faults.gzip_bomb(), (MALFORMED,)),
        Case("redirect", faults.redirect(elsewhere), (MALFORMED,)),
        Case("wrong content type", WrongType(), (SUCCESS,)),
        *(Case(f"status {code}", faults.status(code), (MALFORMED,)) for code in (400, 404)),
        *(Case(f"status {code}", faults.status(code), (CREDENTIALS,)) for code in (401, 403)),
        Case("status 429", faults.status(429), (THROTTLED,)),
        *(Case(f"status {code}", faults.status(code), (FAILED,)) for code in (500, 503)),
        Case("status 500, executed", faults.status(500, executed=True), (FAILED,)),
        Case("keep-alive race, seen", KeepAliveRace(), (SUCCESS, LOST)),
        Case("keep-alive race, unseen", KeepAliveRace(seen=False), (SUCCESS, LOST)),
    )


@dataclass(frozen=True)
class Cell:
    """What a case came to at one provider."""

    case: Case
    observed: ObservedCalls
    drift_mib: float

    def unexpected(self) -> list[str]:
        """Ends that the case does not allow; calls that the caller's own timer ended are `late`."""
        others = Counter(
            each.outcome
            for each in self.observed.ended
            if each.outcome not in self.case.expected and not each.not_judged and not each.in_vain
        )
        return [f"{self.observed.name}: {times} x {outcome}" for outcome, times in others.items()]

    def late(self) -> list[str]:
        """Calls that had no answer by their deadline: the caller's own clock ends these, and hardly ever late."""
        late = [each.seconds for each in self.observed.ended if each.in_vain or each.late(self.case.deadline_s)]
        return [f"{self.observed.name}: {len(late)}, the latest after {max(late):.3f} s"] if late else []

    def not_judged(self) -> int:
        """Calls that say nothing of the gateway."""
        return sum(each.not_judged for each in self.observed.ended)

    def hardly_judged(self) -> bool:
        """Whether more than half of the calls say nothing of the gateway."""
        return self.not_judged() > len(self.observed.ended) / 2

    def repeated(self) -> list[str]:
        """Calls that were sent more than once."""
        return [f"{self.observed.name}: {marker}" for marker, got in self.observed.receipts.items() if got.started > 1]


async def matrix(
    environment: StressEnvironment,
    *,
    calls: int = 1000,
    at_once: int = 64,
    warming: int = 100,
    filling: int = 30_000,
    grpc: str = "",
) -> Figures:
    """Every fault at every adapter, without retries and without a breaker; then the sockets and the tasks that stay."""
    async with providers_harness(environment, grpc=grpc) as harness:
        before = await harness.usage()
        await harness.fill(filling)
        for provider in harness.providers.values():
            for case in cases_at(provider):
                await _cell(harness, provider, case, warming, at_once)
        warm = await harness.usage()
        cells = []
        for provider in harness.providers.values():
            for case in cases_at(provider):
                environment.report(f"{case.name} at {provider.name}")
                cells.append(await _cell(harness, provider, case, calls, at_once))
        after = await harness.usage()
        rest = await harness.at_rest(before)
    return (
        *_answer_figures(cells),
        *left_behind(before, rest),
        stated("the gateway's memory, warm and after", f"{warm.memory_mib:.0f} and {after.memory_mib:.0f} MiB"),
        at_most("drift of the gateway's memory", DRIFT_MIB, after.memory_mib - warm.memory_mib, " MiB"),
        stated("... the most in one cell", _most(cells)),
    )


async def matrix_in_small(environment: StressEnvironment, *, calls: int = 5) -> Figures:
    """The same, at all adapters at once, and without what takes long to settle."""
    async with providers_harness(environment) as harness:
        before = await harness.usage()
        cells = [
            cell
            for several in await asyncio.gather(
                *(_cells(harness, provider, calls) for provider in harness.providers.values())
            )
            for cell in several
        ]
        rest = await harness.at_rest(before, keep_connections=False)
    return (*_answer_figures(cells, OF_FEW), *left_behind(before, rest))


async def _cells(harness: ProvidersHarness, provider: FaultyProvider, calls: int) -> list[Cell]:
    return [await _cell(harness, provider, case, calls, calls) for case in cases_at(provider)]


async def matrix_with_defaults(environment: StressEnvironment, *, calls: int = 100, at_once: int = 32) -> Figures:
    """The same with retries and a breaker, which change how calls end, but never what is true."""
    cells: list[Cell] = []
    for at in range(len(cases(""))):  # a gateway each: one case's open circuit would be the next one's
        async with providers_harness(environment, tables=dict.fromkeys(ADAPTERS, DEFAULTS)) as harness:
            for provider in harness.providers.values():
                cells += [await _cell(harness, provider, cases_at(provider)[at], calls, at_once)]
    return (
        stated("calls", sum(len(cell.observed.ended) for cell in cells)),
        _none_late(cells),
        *certainty_figures(cell.observed for cell in cells),
    )


def _answer_figures(cells: Sequence[Cell], not_sent: float = MIN_NOT_SENT) -> Figures:
    return (
        stated("calls", sum(len(cell.observed.ended) for cell in cells)),
        stated("not judged, for this process itself was late", sum(cell.not_judged() for cell in cells)),
        timed(none_of("cases hardly judged", (cell.observed.name for cell in cells if cell.hardly_judged()))),
        none_of("ended otherwise than expected", (each for cell in cells for each in cell.unexpected())),
        _none_late(cells),
        *certainty_figures((cell.observed for cell in cells), not_sent),
        none_of("requests sent more than once", (each for cell in cells for each in cell.repeated())),
    )


def _none_late(cells: Sequence[Cell]) -> Figure:
    late = (each for cell in cells for each in cell.late())
    return timed(none_of(f"later than the deadline + {LATE_S * 1000:.0f} ms", late))


def cases_at(provider: FaultyProvider) -> tuple[Case, ...]:
    """All faults, as they are made for one provider."""
    return cases(f"{provider.proxy.base_url}/elsewhere")


async def _cell(harness: ProvidersHarness, provider: FaultyProvider, case: Case, calls: int, at_once: int) -> Cell:
    markers = new_markers(calls)
    provider.stock(markers)
    memory = (await harness.usage()).memory_mib
    provider.proxy.received.clear()
    provider.proxy.fault = case.fault
    ended = await harness.close_all(provider, markers, case.deadline_s, at_once)
    provider.proxy.fault = None
    observed = await observe(f"{case.name} at {provider.name}", provider, ended)
    return Cell(case, observed, (await harness.usage()).memory_mib - memory)


def left_behind(before: Usage, rest: Usage) -> Figures:
    """What a gateway at rest holds more than before."""
    return (
        at_most("sockets, back to", before.sockets, rest.sockets),
        at_most("tasks, back to", before.tasks, rest.tasks),
        stated("file descriptors, before and at rest", f"{before.files} and {rest.files}"),
    )


def _most(cells: Iterable[Cell]) -> str:
    most = max(cells, key=lambda cell: cell.drift_mib)
    return f"{most.drift_mib:.1f} MiB, {most.observed.name}"
