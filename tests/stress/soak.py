"""Soak: half of what the gateway can do, for ten minutes, with all faults at random. Nothing grows, nothing stays."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import cycle
from time import monotonic

from tests.stress.certainty import changing
from tests.stress.expected import deadline_figures
from tests.stress.figures import Figures, at_least, at_most, exactly, stated, timed
from tests.stress.matrix import left_behind
from tests.stress.processes import StressEnvironment, open_accounts, resident_mib
from tests.stress.providers_harness import (
    ADAPTERS,
    DEFAULTS,
    SUCCESS,
    CallResult,
    ProvidersHarness,
    new_markers,
    providers_harness,
)
from tests.stress.sending import PROVIDER as SENDER
from tests.stress.sending import Load, provider
from tests.stress.slowloris import SlowClients

SLOPE_MIB_PER_MIN = 0.2
WARM = 0.2
"""The part of the time after which memory is looked at."""
DEADLINE_S = 2.0
MAX_IN_FLIGHT = 256
MADE = 0.9
"""Of the calls that half load is: of fewer it is not half load."""
SLOW_CLIENTS = 20
FAULT_S = 2.0
"""The longest that one fault lasts."""


@dataclass
class _Calls:
    """Calls at a steady rate, whatever becomes of those before, and what they came to."""

    harness: ProvidersHarness
    rate: float
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: list[CallResult] = field(default_factory=list)
    """Of those that did not succeed, those that were late, or that say nothing of the gateway."""
    left_out: int = 0
    """Calls not made, for too many were in flight."""

    async def make(self, seconds: float) -> None:
        """Make them, for so long, and wait until all have ended."""
        players = {name: cycle(new_markers(50)) for name in self.harness.providers}
        for name, each in self.harness.providers.items():
            each.stock({next(players[name]) for _ in range(50)})
        in_flight: set[asyncio.Task[None]] = set()
        names = cycle(players)
        begun, made = monotonic(), 0
        while (now := monotonic() - begun) < seconds:
            for _ in range(made, int(now * self.rate)):
                if len(in_flight) >= MAX_IN_FLIGHT:
                    self.left_out += 1
                    continue
                task = asyncio.create_task(self._call(name := next(names), next(players[name])))
                in_flight.add(task)
                task.add_done_callback(in_flight.discard)
            made = int(now * self.rate)
            await asyncio.sleep(0.005)
        await asyncio.gather(*in_flight)

    async def _call(self, name: str, player: str) -> None:
        ended = await self.harness.close(self.harness.providers[name], player, DEADLINE_S)
        self.outcomes[ended.outcome] += 1
        if ended.not_judged or ended.in_vain or ended.late(DEADLINE_S):
            self.failed.append(ended)


async def soak(
    environment: StressEnvironment,
    *,
    seconds: int = 600,
    filling: int = 30_000,
    wins_idle_s: float = 0.1,
    keep_connections: bool = True,
) -> Figures:
    """Closes at half of what was measured, with Results and slow clients, faults at random at each provider."""
    async with AsyncExitStack() as stack:
        adapters = {each: each for each in ADAPTERS} | {SENDER: "luckymonaco"}
        harness = await stack.enter_async_context(
            providers_harness(environment, adapters, dict.fromkeys(adapters, DEFAULTS))
        )
        await open_accounts(harness.gateway.grpc)
        before = await harness.usage()
        capacity = await harness.fill(filling)
        calls = _Calls(harness, capacity / 2)
        environment.report(f"{capacity:.0f} calls a second are all it can do")
        async with AsyncExitStack() as trouble:
            for each in harness.providers.values():
                await trouble.enter_async_context(changing(each, FAULT_S, healthy=20))
            slow_clients = SlowClients(harness.gateway.callbacks, SENDER, SLOW_CLIENTS)
            await trouble.enter_async_context(slow_clients.running())
            sender = await trouble.enter_async_context(provider(lambda: [harness.gateway.callbacks]))
            load = await trouble.enter_async_context(Load(sender, workers=8, idle_s=wins_idle_s).running())
            memory = asyncio.create_task(_memory(harness, seconds))
            await calls.make(seconds)
            samples = await memory
        rest = await harness.at_rest(before, keep_connections=keep_connections)
    steady = [sample for sample in samples if sample[0] >= WARM * seconds]
    return (
        stated("calls", f"{calls.outcomes.total()} at {calls.rate:.0f} a second, {calls.left_out} left out"),
        *(stated(f"... ended {outcome}", times) for outcome, times in calls.outcomes.most_common()),
        timed(at_least("... part that was made", MADE, 1 - calls.left_out / (calls.outcomes.total() + calls.left_out))),
        at_least("... ended well", 1, calls.outcomes[SUCCESS]),
        *deadline_figures(calls.failed, DEADLINE_S, of=calls.outcomes.total()),
        stated("Results", len(load.acknowledged)),
        exactly("... that contradict another", [], load.contradictions[:3]),
        stated("slow clients that came and went", len(slow_clients.gone)),
        stated("memory, warm and at the end", f"{steady[0][1]:.1f} and {steady[-1][1]:.1f} MiB"),
        timed(at_most("slope of memory", SLOPE_MIB_PER_MIN, slope(steady) * 60, " MiB a minute")),
        *left_behind(before, rest),
        at_most("file descriptors, back to", before.files, rest.files),
    )


async def _memory(harness: ProvidersHarness, seconds: float) -> list[tuple[float, float]]:
    """Seconds, and MiB."""
    samples, begun = [], monotonic()
    while (now := monotonic() - begun) < seconds:
        samples.append((now, resident_mib(harness.gateway.pid)))
        await asyncio.sleep(seconds / 300)
    return samples


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Of the line through these points that is nearest to all of them."""
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread
