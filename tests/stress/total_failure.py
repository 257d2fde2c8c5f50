"""Total failure: a provider that only fails is not asked much more often than there are calls."""

from collections import Counter
from time import monotonic

from tests.stress.certainty import RETRYING
from tests.stress.figures import Figures, at_least, at_most, stated
from tests.stress.processes import StressEnvironment
from tests.stress.providers_harness import DEFAULTS, Tables, new_markers, providers_harness
from tests.support import faults
from tests.support.faults import Fault, Refuse, Reset, ResetPoint

PROVIDER = "luckymonaco"
PER_CALL = 1.2
PER_S = 10.0
"""Attempts allowed: for each call, and more of them each second, the first from its beginning."""


FAILURES: dict[str, Fault] = {
    "status 503": faults.status(503),
    "reset after": Reset(ResetPoint.AFTER),
    "refuse": Refuse(),
}


async def total_failure(environment: StressEnvironment, *, calls: int = 3000, at_once: int = 32) -> Figures:
    """Each kind of failure, with a breaker that never opens, so that the budget alone bounds it; then by default."""
    figures: list[Figures] = []
    for name, fault in FAILURES.items():
        for kind, tables in (("budget", RETRYING), ("breaker too", DEFAULTS)):
            environment.report(f"{name}, {kind}")
            figures.append(await failing(environment, f"{name}, {kind}", fault, tables, calls, at_once))
    return tuple(figure for several in figures for figure in several)


async def failing(
    environment: StressEnvironment, name: str, fault: Fault, tables: Tables, calls: int, at_once: int
) -> Figures:
    """Calls of a provider with one kind of failure, and the attempts that it saw."""
    async with providers_harness(environment, {PROVIDER: PROVIDER}, {PROVIDER: tables}) as harness:
        provider = harness.providers[PROVIDER]
        provider.stock(markers := new_markers(calls))
        provider.proxy.fault = fault
        begun = monotonic()
        ended = await harness.close_all(provider, markers, 5.0, at_once)
        seconds = monotonic() - begun
        # Of a request that is refused as it connects, the connection is all that there is to count.
        attempts = max(provider.proxy.connections if isinstance(fault, Refuse) else 0, provider.proxy.received.begun)
    reasons = Counter(each.reason for each in ended)
    tried_again = tables is RETRYING
    return (
        stated(f"{name}: calls, in {seconds:.1f} s", calls),
        at_most("... attempts counted at the provider", int(PER_CALL * calls + PER_S * max(1, seconds)), attempts),
        *([at_least("... attempts a call, for some are tried again", 1.1, attempts / calls)] if tried_again else []),
        stated("... ended", ", ".join(f"{times} x {reason}" for reason, times in reasons.most_common())),
    )
