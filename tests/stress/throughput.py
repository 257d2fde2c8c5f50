"""Throughput: durable Results compared with an empty handler in the same run, and what group commit saves."""

from bench.environment import bench_environment
from bench.inbound import EMPTY, ONE_BY_ONE, WIDTHS, subjects
from bench.rounds import Timing, at_full
from tests.stress.figures import Figures, at_least, stated
from tests.stress.processes import StressEnvironment

ACCEPTABLE = 0.7
"""Of the empty handler's answers a second."""


async def throughput(environment: StressEnvironment, *, rounds: int = 3) -> Figures:
    """Measure with the benchmark, each Result on the disk before it is answered."""
    environment.report(f"{rounds} rounds at 64 and 256 connections, each server in turn")
    async with bench_environment((environment.engine.value,)) as measured, subjects(measured) as under_test:
        rows = [row for width in WIDTHS for row in await at_full(under_test, width, Timing(rounds))]
    figures = []
    for each in rows:
        name = f"{each.name} at {each.load}"
        if each.name == EMPTY:
            figures.append(stated(name, f"{each.rate:.0f} answers a second"))
        elif ONE_BY_ONE in each.name:
            figures.append(stated(f"{name}, of the empty handler", f"{each.ratio:.2f}"))
        else:
            figures.append(at_least(f"{name}, of the empty handler", ACCEPTABLE, each.ratio))
    return tuple(figures)
