"""`make bench`: all parts, or some of them. It prints tables. A run of all parts is also written to `bench/results/`,
with a plot, and adds a line to the trend.
"""

import argparse
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import uvloop

from bench import inbound, memory, outbound, startup, workers
from bench.environment import BenchEnvironment, bench_environment
from bench.plot import draw
from bench.report import show
from bench.results import RESULTS, Figure, append_trend, results_of, write
from bench.rounds import Row, Timing

Measure = Callable[[BenchEnvironment, Timing], Awaitable[Sequence[Row] | Sequence[Figure]]]

PARTS: Mapping[str, Measure] = {
    "outbound": outbound.measure,
    "inbound": inbound.measure,
    "workers": workers.measure,
    "starting": startup.measure,
    "memory": memory.measure,
}


async def run(
    names: Sequence[str], timing: Timing, servers: Sequence[str] | None = None
) -> dict[str, Sequence[Row] | Sequence[Figure]]:
    """Measure one part after the other; `servers` names the servers, None is all."""
    found = {}
    async with bench_environment(servers=servers) as environment:
        for name in names:
            print(f"{name} …", flush=True)
            found[name] = await PARTS[name](environment, timing)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma-separated")
    parser.add_argument("--servers", help="servers to measure, comma-separated, in the parts that compare several")
    parser.add_argument("--rounds", type=int, default=Timing.rounds, help="how often each server is measured")
    parser.add_argument("--seconds", type=float, default=Timing.seconds, help="how long each is measured in a round")
    parser.add_argument("--results", type=Path, help="folder for the results; bench/results for all parts")
    asked = parser.parse_args(arguments)
    names = asked.only.split(",")
    for name in names:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}: there are {', '.join(PARTS)}")
    load_before = round(os.getloadavg()[0], 2)
    found = uvloop.run(run(names, Timing(asked.rounds, asked.seconds), asked.servers and asked.servers.split(",")))
    results = results_of(found, load_before)
    show(results)
    whole = names == list(PARTS) and not asked.servers
    if whole or asked.results:
        folder = asked.results or RESULTS
        write(results, folder)
        draw(results, folder)
        if whole:
            append_trend(results, folder)


if __name__ == "__main__":
    main()
