"""`make bench`: everything, or some parts. It prints tables; the whole of it goes to `bench/results/`, with a plot, and
is one line more of the trend.
"""

import argparse
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import uvloop

from bench import inbound, memory, outbound, startup, workers
from bench.environment import Ground, ground
from bench.plot import draw
from bench.report import show
from bench.results import RESULTS, Figure, append_trend, results_of, write
from bench.rounds import Pace, Row

Measure = Callable[[Ground, Pace], Awaitable[Sequence[Row] | Sequence[Figure]]]

PARTS: Mapping[str, Measure] = {
    "outbound": outbound.measure,
    "inbound": inbound.measure,
    "workers": workers.measure,
    "starting": startup.measure,
    "memory": memory.measure,
}


async def run(
    names: Sequence[str], pace: Pace, servers: Sequence[str] | None = None
) -> dict[str, Sequence[Row] | Sequence[Figure]]:
    """One part after the other, with these servers, or all."""
    found = {}
    async with ground(servers=servers) as on:
        for name in names:
            print(f"{name} …", flush=True)
            found[name] = await PARTS[name](on, pace)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--servers", help="of those parts that have others: names, with commas between them")
    parser.add_argument("--rounds", type=int, default=Pace.rounds, help="times that each server has its turn")
    parser.add_argument("--seconds", type=float, default=Pace.seconds, help="that each turn is measured for")
    parser.add_argument("--results", type=Path, help="folder for the figures, bench/results where all is measured")
    asked = parser.parse_args(arguments)
    names = asked.only.split(",")
    for name in names:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}: there are {', '.join(PARTS)}")
    load_before = round(os.getloadavg()[0], 2)
    found = uvloop.run(run(names, Pace(asked.rounds, asked.seconds), asked.servers and asked.servers.split(",")))
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
