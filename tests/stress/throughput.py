"""Throughput: durable Results beside an empty handler in the same run, and what grouping commits buys."""

from bench.inbound import EMPTY, ONE_BY_ONE, measure_alone
from bench.rounds import Pace
from tests.stress.figures import Figures, at_least, stated
from tests.stress.resilience_harness import Stage

ACCEPTABLE = 0.7
"""Of the empty handler's answers a second."""


async def throughput(stage: Stage, *, rounds: int = 3) -> Figures:
    """Measure with the benchmark, each Result on the disk before it is answered."""
    stage.say(f"{rounds} rounds at 64 and 256 connections, each server in turn")
    figures = []
    for each in await measure_alone((stage.engine.value,), Pace(rounds)):
        name = f"{each.name} at {each.load}"
        if each.name == EMPTY:
            figures.append(stated(name, f"{each.rate:.0f} answers a second"))
        elif ONE_BY_ONE in each.name:
            figures.append(stated(f"{name}, of the empty handler", f"{each.ratio:.2f}"))
        else:
            figures.append(at_least(f"{name}, of the empty handler", ACCEPTABLE, each.ratio))
    return tuple(figures)
