"""Soak: half of what the gateway can do, for ten minutes, with all faults at random. Nothing grows, nothing stays."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import cycle
from time import monotonic

from tests.stress.certainty import changing
from tests.stress.expected import in_time
from tests.stress.figures import Figures, at_least, at_most, exactly, stated
from tests.stress.matrix import left_behind
from tests.stress.money_harness import ADAPTERS, DEFAULTS, SUCCESS, Ended, Farm, farm, new_markers
from tests.stress.resilience_harness import Stage, open_accounts, resident_mib
from tests.stress.sending import PROVIDER as SENDER
from tests.stress.sending import Load, provider
from tests.stress.slowloris import Drippers

SLOPE_MIB_PER_MIN = 0.2
WARM = 0.2
"""The part of the time after which memory is looked at."""
DEADLINE_S = 2.0
MOST_AT_ONCE = 256
MADE = 0.9
"""Of the calls that half load is: of fewer it is not half load."""
DRIPPERS = 20
FAULT_S = 2.0
"""The longest that one fault lasts."""


@dataclass
class _Calls:
    """Calls at a steady rate, whatever becomes of those before, and what they came to."""

    scene: Farm
    rate: float
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: list[Ended] = field(default_factory=list)
    """Of those that did not succeed, what was not in time, or cannot be judged."""
    left_out: int = 0
    """Calls not made, for too many were under way."""

    async def make(self, seconds: float) -> None:
        """Make them, for so long, and wait until all have ended."""
        players = {name: cycle(new_markers(50)) for name in self.scene.providers}
        for name, each in self.scene.providers.items():
            each.stock({next(players[name]) for _ in range(50)})
        under_way: set[asyncio.Task[None]] = set()
        names = cycle(players)
        begun, made = monotonic(), 0
        while (now := monotonic() - begun) < seconds:
            for _ in range(made, int(now * self.rate)):
                if len(under_way) >= MOST_AT_ONCE:
                    self.left_out += 1
                    continue
                task = asyncio.create_task(self._call(name := next(names), next(players[name])))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            made = int(now * self.rate)
            await asyncio.sleep(0.005)
        await asyncio.gather(*under_way)

    async def _call(self, name: str, player: str) -> None:
        ended = await self.scene.close(self.scene.providers[name], player, DEADLINE_S)
        self.outcomes[ended.outcome] += 1
        if ended.not_judged or ended.in_vain or ended.late(DEADLINE_S):
            self.failed.append(ended)


async def soak(
    stage: Stage, *, seconds: int = 600, filling: int = 30_000, wins_idle_s: float = 0.1, patient: bool = True
) -> Figures:
    """Closes at half of what was measured, Results and drippers beside them, faults at random at each provider."""
    async with AsyncExitStack() as stack:
        adapters = {each: each for each in ADAPTERS} | {SENDER: "luckymonaco"}
        scene = await stack.enter_async_context(farm(stage, adapters, dict.fromkeys(adapters, DEFAULTS)))
        await open_accounts(scene.gateway.grpc)
        before = await scene.usage()
        capacity = await scene.fill(filling)
        calls = _Calls(scene, capacity / 2)
        stage.say(f"{capacity:.0f} calls a second are all it can do")
        async with AsyncExitStack() as trouble:
            for each in scene.providers.values():
                await trouble.enter_async_context(changing(each, FAULT_S, well=20))
            drippers = Drippers(scene.gateway.callbacks, SENDER, DRIPPERS)
            await trouble.enter_async_context(drippers.dripping())
            sender = await trouble.enter_async_context(provider(lambda: [scene.gateway.callbacks]))
            load = await trouble.enter_async_context(Load(sender, workers=8, idle_s=wins_idle_s).running())
            memory = asyncio.create_task(_memory(scene, seconds))
            await calls.make(seconds)
            samples = await memory
        rest = await scene.at_rest(before, patient=patient)
    steady = [sample for sample in samples if sample[0] >= WARM * seconds]
    return (
        stated("calls", f"{calls.outcomes.total()} at {calls.rate:.0f} a second, {calls.left_out} left out"),
        *(stated(f"... ended {outcome}", times) for outcome, times in calls.outcomes.most_common()),
        at_least("... part that was made", MADE, 1 - calls.left_out / (calls.outcomes.total() + calls.left_out)),
        at_least("... ended well", 1, calls.outcomes[SUCCESS]),
        *in_time(calls.failed, DEADLINE_S, of=calls.outcomes.total()),
        stated("Results", len(load.acknowledged)),
        exactly("... that contradict another", [], load.contradictions[:3]),
        stated("drippers that came and went", len(drippers.gone)),
        stated("memory, warm and at the end", f"{steady[0][1]:.1f} and {steady[-1][1]:.1f} MiB"),
        at_most("slope of memory", SLOPE_MIB_PER_MIN, slope(steady) * 60, " MiB a minute"),
        *left_behind(before, rest),
        at_most("file descriptors, back to", before.files, rest.files),
    )


async def _memory(scene: Farm, seconds: float) -> list[tuple[float, float]]:
    """Seconds, and MiB."""
    samples, begun = [], monotonic()
    while (now := monotonic() - begun) < seconds:
        samples.append((now, resident_mib(scene.gateway.pid)))
        await asyncio.sleep(seconds / 300)
    return samples


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Of the line through these points that is nearest to all of them."""
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread
