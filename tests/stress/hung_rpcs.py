"""A thousand calls that hang: memory is bounded, and whoever calls another provider is answered."""

import asyncio
from collections import Counter
from time import monotonic

from tests.stress.expected import Told, in_time, told, truths
from tests.stress.figures import Figures, at_least, at_most, none_of, stated
from tests.stress.matrix import left_behind
from tests.stress.money_harness import BARE, DEFAULTS, SUCCESS, Ended, Farm, Tables, farm, new_markers
from tests.stress.resilience_harness import Stage, resident_mib
from tests.support.faults import Hang

SICK, WELL = "kyren", "luckymonaco"
DEADLINE_S = 4.0
GOOD_S = 1.0
"""Within which the good call is answered."""
HELD_MIB = 96.0
"""What a thousand calls under way may take."""
GROWTH_MIB = 10.0

WIDE: Tables = {**BARE, "limits": {"max_concurrent_calls": 1000, "max_queued_calls": 1000}}
"""All of them get through to the provider."""
ROOM = "max_calls = 2000"


async def hung_rpcs(
    stage: Stage, *, calls: int = 1000, rounds: int = 4, filling: int = 30_000, grpc: str = ""
) -> Figures:
    """As a provider's limits are by default, then with limits that let all of them through."""
    return (
        *await hung_with(stage, "by default", DEFAULTS, calls, rounds, filling, f"{grpc}\n{ROOM}"),
        *await hung_with(
            stage, "all let through", WIDE, calls, rounds, filling, f"{grpc}\n{ROOM}", hanging=calls * rounds
        ),
    )


async def hung_with(
    stage: Stage,
    name: str,
    tables: Tables,
    calls: int,
    rounds: int,
    filling: int,
    grpc: str,
    *,
    deadline_s: float = DEADLINE_S,
    patient: bool = True,
    hanging: int = 1,
) -> Figures:
    """So many hung calls, several times over, and what they cost; `hanging` of them at least are not refused."""
    adapters = {SICK: SICK, WELL: WELL}
    async with farm(stage, adapters, {SICK: tables, WELL: DEFAULTS}, grpc=grpc) as scene:
        well = scene.providers[WELL]
        before = await scene.usage()
        await scene.fill(filling)
        well.stock(player := new_markers(1))
        full = resident_mib(scene.gateway.pid)
        peaks, good, all_told = [], [], []
        for number in range(rounds):
            stage.say(f"{name}, round {number + 1}")
            hung, peak, ended = await _round(scene, calls, player[0], deadline_s)
            peaks.append(peak)
            good += ended
            all_told.append(hung)
        rest = await scene.at_rest(before, patient=patient)
    outcomes = Counter(each.outcome for hung in all_told for each in hung.ended)
    reached = sum(bool(hung.receipt(each).begun) for hung in all_told for each in hung.ended)
    return (
        stated(f"{name}: calls", f"{rounds} x {calls}"),
        *(stated(f"... ended {outcome}", times) for outcome, times in outcomes.most_common()),
        at_least("... calls that got through to the provider, and hung there", hanging, reached),
        *in_time([each for hung in all_told for each in hung.ended], deadline_s),
        none_of("good calls meanwhile that were not answered", (each for each in good if each.code != SUCCESS)),
        at_most("... the longest of these", GOOD_S, max(each.seconds for each in good), " s"),
        at_most("memory that they hold", HELD_MIB, max(peaks) - full, " MiB"),
        at_most("... and more of it in the last round than in the second", GROWTH_MIB, peaks[-1] - peaks[1], " MiB"),
        *truths(all_told),
        *left_behind(before, rest),
    )


async def _round(scene: Farm, calls: int, player: str, deadline_s: float) -> tuple[Told, float, list[Ended]]:
    """Hung calls, over half of their time; what the gateway held while they hung, and how good ones fared meanwhile."""
    sick, well = scene.providers[SICK], scene.providers[WELL]
    sick.stock(markers := new_markers(calls))
    sick.proxy.ledger.clear()
    sick.proxy.fault = Hang()
    begun, good, peak = monotonic(), [], 0.0

    async def hang(marker: str, after_s: float) -> Ended:
        await asyncio.sleep(after_s)
        return await scene.close(sick, marker, deadline_s)

    hanging = asyncio.gather(*(hang(marker, deadline_s / 2 * at / calls) for at, marker in enumerate(markers)))
    while monotonic() - begun < deadline_s:
        good.append(await scene.close(well, player, deadline_s))
        peak = max(peak, resident_mib(scene.gateway.pid))
        await asyncio.sleep(0.1)
    ended = await hanging
    sick.proxy.fault = None
    return await told(SICK, sick, ended), peak, good
