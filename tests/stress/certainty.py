"""Certainty: faults come and go while calls are made and retried, and the certainty of each answer is true."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.stress.expected import MIN_NOT_SENT, ObservedCalls, certainty_figures, deadline_figures, observe
from tests.stress.figures import Figures, stated
from tests.stress.matrix import cases_at
from tests.stress.processes import StressEnvironment
from tests.stress.providers_harness import (
    ADAPTERS,
    DEFAULTS,
    FaultyProvider,
    ProvidersHarness,
    Tables,
    new_markers,
    providers_harness,
)
from tests.support.faults import Fault

RETRYING: Tables = {"breaker": {"min_requests": 1_000_000}}
"""Retries, and a breaker that never opens."""

DEADLINE_S = 1.0
MAX_FAULT_S = 0.1
"""For which a fault lasts."""


async def certainty(environment: StressEnvironment, *, calls: int = 3000, at_once: int = 48) -> Figures:
    """All faults in turn at random, each for a moment: with retries alone, then with a breaker that opens too."""
    figures: list[Figures] = []
    for name, tables in (("retries", RETRYING), ("retries and breaker", DEFAULTS)):
        environment.report(name)
        figures.append(await at_random(environment, name, tables, calls, at_once))
    return tuple(figure for several in figures for figure in several)


async def at_random(
    environment: StressEnvironment, name: str, tables: Tables, calls: int, at_once: int, not_sent: float = MIN_NOT_SENT
) -> Figures:
    """Calls at each provider, at all providers at once, and how they ended."""
    async with providers_harness(environment, tables=dict.fromkeys(ADAPTERS, tables)) as harness:
        observed = await asyncio.gather(
            *(_at_random(harness, provider, calls, at_once // 3) for provider in harness.providers.values())
        )
    outcomes = Counter(each.outcome for observed_calls in observed for each in observed_calls.ended)
    attempts = sum(receipt.started for each in observed for receipt in each.receipts.values())
    return (
        stated(f"with {name}: calls", outcomes.total()),
        stated("... requests that reached the providers", attempts),
        *(stated(f"... ended {outcome}", times) for outcome, times in outcomes.most_common()),
        *deadline_figures([call for each in observed for call in each.ended], DEADLINE_S),
        *certainty_figures(observed, not_sent),
    )


async def _at_random(harness: ProvidersHarness, provider: FaultyProvider, calls: int, at_once: int) -> ObservedCalls:
    provider.stock(markers := new_markers(calls))
    async with changing(provider):
        ended = await harness.close_all(provider, markers, DEADLINE_S, at_once)
    return await observe(provider.name, provider, ended)


@asynccontextmanager
async def changing(provider: FaultyProvider, longest_s: float = MAX_FAULT_S, healthy: int = 1) -> AsyncIterator[None]:
    """Another fault at random each moment, until the block ends; there is none as often as `healthy` faults.

    There is none in the first moment, so that a short time has successes too.
    """
    among: list[Fault | None] = [case.fault for case in cases_at(provider)]
    among += [None] * healthy

    async def change() -> None:
        while True:
            await asyncio.sleep(random.uniform(0, longest_s))  # noqa: S311 - no secret
            provider.proxy.fault = random.choice(among)  # noqa: S311 - no secret

    task = asyncio.create_task(change())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        provider.proxy.fault = None
