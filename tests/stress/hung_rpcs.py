"""A thousand calls that hang: memory is bounded, and calls of another provider are answered."""

import asyncio
from collections import Counter
from time import monotonic

from tests.stress.expected import ObservedCalls, certainty_figures, deadline_figures, observe
from tests.stress.figures import Figures, at_least, at_most, none_of, stated, timed
from tests.stress.matrix import left_behind
from tests.stress.processes import StressEnvironment, resident_mib
from tests.stress.providers_harness import (
    DEFAULTS,
    NO_RETRIES,
    SUCCESS,
    CallResult,
    ProvidersHarness,
    Tables,
    new_markers,
    providers_harness,
)
from tests.support.faults import Hang

FAILING, HEALTHY = "kyren", "luckymonaco"
DEADLINE_S = 4.0
GOOD_DEADLINE_S = 30.0
GOOD_S = 1.0
"""Within which the good call is answered."""
HELD_MIB = 96.0
"""What a thousand calls in flight may take."""
GROWTH_MIB = 10.0

WIDE: Tables = {**NO_RETRIES, "limits": {"max_concurrent_calls": 1000, "max_queued_calls": 1000}}
"""All of them get through to the provider."""
GRPC_LIMIT = "max_calls = 2000\nmax_calls_per_connection = 2000"


async def hung_rpcs(
    environment: StressEnvironment, *, calls: int = 1000, rounds: int = 4, filling: int = 30_000, grpc: str = ""
) -> Figures:
    """As a provider's limits are by default, then with limits that let all of them through."""
    return (
        *await hung_with(environment, "by default", DEFAULTS, calls, rounds, filling, f"{grpc}\n{GRPC_LIMIT}"),
        *await hung_with(
            environment,
            "all let through",
            WIDE,
            calls,
            rounds,
            filling,
            f"{grpc}\n{GRPC_LIMIT}",
            hanging=calls * rounds,
        ),
    )


async def hung_with(
    environment: StressEnvironment,
    name: str,
    tables: Tables,
    calls: int,
    rounds: int,
    filling: int,
    grpc: str,
    *,
    deadline_s: float = DEADLINE_S,
    keep_connections: bool = True,
    hanging: int = 1,
) -> Figures:
    """Rounds of hung calls, and what they cost; at least `hanging` of them are not refused."""
    adapters = {FAILING: FAILING, HEALTHY: HEALTHY}
    async with providers_harness(environment, adapters, {FAILING: tables, HEALTHY: DEFAULTS}, grpc=grpc) as harness:
        healthy = harness.providers[HEALTHY]
        before = await harness.usage()
        await harness.fill(filling)
        healthy.stock(player := new_markers(1))
        full = resident_mib(harness.gateway.pid)
        peaks, good, observed = [], [], []
        for number in range(rounds):
            environment.report(f"{name}, round {number + 1}")
            hung, peak, ended = await _round(harness, calls, player[0], deadline_s)
            peaks.append(peak)
            good += ended
            observed.append(hung)
        rest = await harness.at_rest(before, keep_connections=keep_connections)
    outcomes = Counter(each.outcome for hung in observed for each in hung.ended)
    reached = sum(bool(hung.receipt(each).started) for hung in observed for each in hung.ended)
    return (
        stated(f"{name}: calls", f"{rounds} x {calls}"),
        *(stated(f"... ended {outcome}", times) for outcome, times in outcomes.most_common()),
        at_least("... calls that got through to the provider, and hung there", hanging, reached),
        *deadline_figures([each for hung in observed for each in hung.ended], deadline_s),
        none_of("good calls at that time that were not answered", (each for each in good if each.code != SUCCESS)),
        timed(at_most("... the longest of these", GOOD_S, max(each.seconds for each in good), " s")),
        at_most("memory that they hold", HELD_MIB, max(peaks) - full, " MiB"),
        at_most("... and more of it in the last round than in the second", GROWTH_MIB, peaks[-1] - peaks[1], " MiB"),
        *certainty_figures(observed),
        *left_behind(before, rest),
    )


async def _round(
    harness: ProvidersHarness, calls: int, player: str, deadline_s: float
) -> tuple[ObservedCalls, float, list[CallResult]]:
    """Hung calls, over half of their time; the gateway's memory then, and the good calls."""
    failing, healthy = harness.providers[FAILING], harness.providers[HEALTHY]
    failing.stock(markers := new_markers(calls))
    failing.proxy.received.clear()
    failing.proxy.fault = Hang()
    begun, good, peak = monotonic(), [], 0.0

    async def hang(marker: str, after_s: float) -> CallResult:
        await asyncio.sleep(after_s)
        return await harness.close(failing, marker, deadline_s)

    hanging = asyncio.gather(*(hang(marker, deadline_s / 2 * at / calls) for at, marker in enumerate(markers)))
    while monotonic() - begun < deadline_s:
        good.append(await harness.close(healthy, player, GOOD_DEADLINE_S))
        peak = max(peak, resident_mib(harness.gateway.pid))
        await asyncio.sleep(0.1)
    ended = await hanging
    failing.proxy.fault = None
    return await observe(FAILING, failing, ended), peak, good
