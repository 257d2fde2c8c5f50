"""Certainty: faults come and go while calls are made and made again, and what callers are told stays true."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.stress.expected import TOLD_NOT_SENT, Told, in_time, told, truths
from tests.stress.figures import Figures, stated
from tests.stress.matrix import cases_at
from tests.stress.money_harness import ADAPTERS, DEFAULTS, Farm, Farmed, Tables, farm, new_markers
from tests.stress.resilience_harness import Stage
from tests.support.faults import Fault

TRIED_AGAIN: Tables = {"breaker": {"min_requests": 1_000_000}}
"""Retries, and nothing that keeps calls from being made."""

DEADLINE_S = 1.0
LONGEST_S = 0.1
"""For which a fault lasts."""


async def certainty(stage: Stage, *, calls: int = 3000, at_once: int = 48) -> Figures:
    """All faults in turn at random, each for a moment: with retries alone, then with a breaker that opens too."""
    figures: list[Figures] = []
    for name, tables in (("retries", TRIED_AGAIN), ("retries and breaker", DEFAULTS)):
        stage.say(name)
        figures.append(await at_random(stage, name, tables, calls, at_once))
    return tuple(figure for several in figures for figure in several)


async def at_random(
    stage: Stage, name: str, tables: Tables, calls: int, at_once: int, not_sent: float = TOLD_NOT_SENT
) -> Figures:
    """So many calls at each provider, all of them at once, and what came of them."""
    async with farm(stage, tables=dict.fromkeys(ADAPTERS, tables)) as scene:
        all_told = await asyncio.gather(
            *(_at_random(scene, provider, calls, at_once // 3) for provider in scene.providers.values())
        )
    outcomes = Counter(each.outcome for each_told in all_told for each in each_told.ended)
    attempts = sum(receipt.begun for each in all_told for receipt in each.receipts.values())
    return (
        stated(f"with {name}: calls", outcomes.total()),
        stated("... requests that reached the providers", attempts),
        *(stated(f"... ended {outcome}", times) for outcome, times in outcomes.most_common()),
        *in_time([call for each in all_told for call in each.ended], DEADLINE_S),
        *truths(all_told, not_sent),
    )


async def _at_random(scene: Farm, provider: Farmed, calls: int, at_once: int) -> Told:
    provider.stock(markers := new_markers(calls))
    async with changing(provider):
        ended = await scene.close_all(provider, markers, DEADLINE_S, at_once)
    return await told(provider.name, provider, ended)


@asynccontextmanager
async def changing(provider: Farmed, longest_s: float = LONGEST_S, well: int = 1) -> AsyncIterator[None]:
    """Another fault at random each moment, until the block ends; it is well as often as it has `well` faults."""
    among: list[Fault | None] = [case.fault for case in cases_at(provider)]
    among += [None] * well

    async def change() -> None:
        while True:
            provider.proxy.fault = random.choice(among)  # noqa: S311 - no secret
            await asyncio.sleep(random.uniform(0, longest_s))  # noqa: S311 - no secret

    task = asyncio.create_task(change())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        provider.proxy.fault = None
