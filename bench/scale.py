"""Whether a call costs the same with many providers, and with many stored references: pairs of one run.

The gateway with few and the gateway with many run at the same time, under load in turns. What counts is the processor
time of the gateway for each call, and the bytes that it writes: neither depends on the load generator. Filling takes
minutes, and nearly a gigabyte of disk for each million: `make bench-scale ARGS="--references 1000000"` is smaller.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import uvloop

from bench.environment import ENGINES, SQLITE, bench_environment
from bench.load.grpc import Call
from bench.load.requests import CLOSE_SESSION, close_call, close_content, closes, result, results
from bench.rounds import Drive, Load, Timing, calling, posting
from bench.seed import ACCOUNTS, RESULTS_A_CLOSE
from bench.sized_gateways import SeededDatabase, SizedGateway

FEW_PROVIDERS, MANY_PROVIDERS = 3, 300
FEW_REFERENCES, MANY_REFERENCES = 1_000, 10_000_000
IN_FLIGHT = 64
WARM_UP_S = 1.0


@dataclass(frozen=True)
class Cost:
    """Of one call."""

    cpu_us: float
    """The gateway's processor time, all threads."""
    database_us: float
    """That of PostgreSQL's processes; 0 with SQLite."""
    wall_us: float
    """The time between two answers, at full load."""
    written: float
    """Bytes that the gateway had written to the disk; 0 with PostgreSQL."""


# --- Calls ------------------------------------------------------------------------------------------------------------


def stored_results(gateway: SizedGateway) -> Iterator[bytes]:
    """Results that are stored, sent again."""
    for part, number in (gateway.stored() for _ in count()):
        yield result(gateway.providers[0], part.reference(number), number % ACCOUNTS)


def stored_closes(gateway: SizedGateway) -> Iterator[Call]:
    """Calls of CloseSession with request ids that are stored: they are answered as they were."""
    for part, number in (gateway.stored() for _ in count()):
        close = number - number % RESULTS_A_CLOSE
        yield close_call(part.request_id(close), close_content(gateway.providers[0], close % ACCOUNTS, reason=""))


RESULT, CLOSE = "Result", "CloseSession"
LOADS: Mapping[str, Callable[[SizedGateway], Drive]] = {
    RESULT: lambda gateway: posting("callbacks", results(gateway.providers, ACCOUNTS), b'"error":0'),
    "Result again": lambda gateway: posting("callbacks", stored_results(gateway), b'"error":0'),
    CLOSE: lambda gateway: calling(CLOSE_SESSION, closes(gateway.providers, ACCOUNTS)),
    "CloseSession again": lambda gateway: calling(CLOSE_SESSION, stored_closes(gateway)),
}


# --- What is measured -------------------------------------------------------------------------------------------------


async def cost(gateway: SizedGateway, drive: Drive, seconds: float) -> Cost:
    """What one call costs under this load. Raises AssertionError for an answer that is not a success."""
    before, begun = _used(gateway), time.perf_counter()
    tally = await drive(gateway.server, Load(IN_FLIGHT), Timing(1, seconds, 0))
    took = time.perf_counter() - begun
    assert tally.wrong == 0, f"answered {tally.first_wrong!r}"
    cpu, database, written = (after - then for after, then in zip(_used(gateway), before, strict=True))
    calls = tally.answered
    return Cost(cpu * 1e6 / calls, database * 1e6 / calls, took * 1e6 / calls, written / calls)


def _used(gateway: SizedGateway) -> tuple[float, float, float]:
    """Processor seconds of the gateway and of PostgreSQL, and bytes that the gateway had written to the disk."""
    written = Path(f"/proc/{gateway.server.pid}/io").read_text().partition("\nwrite_bytes: ")[2].partition("\n")[0]
    database = family_cpu_s(gateway.database_pid) if gateway.database_pid else 0.0
    return gateway.server.processor_s(), database, float(written)


def family_cpu_s(pid: int) -> float:
    """Processor seconds of a process and its children, those that have ended included.

    Raises FileNotFoundError if the process itself has ended.
    """
    while True:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        own = _cpu_seconds(pid)
        # The seconds of a child that ends meanwhile, as a connection's does, move to the parent: all is read again.
        with suppress(FileNotFoundError, ProcessLookupError):
            return own + sum(_cpu_seconds(int(child)) for child in children)


def _cpu_seconds(pid: int) -> float:
    """Of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Pairs:
    """One load at two sizes, in turns."""

    what: str
    sizes: tuple[str, str]
    few: list[Cost] = field(default_factory=list)
    many: list[Cost] = field(default_factory=list)

    def medians(self) -> tuple[Cost, Cost]:
        """At the one size and at the other."""
        return _median(self.few), _median(self.many)

    def ratio(self) -> float:
        """Of the processor time for each call, the database's included: the median of the pairs."""
        return statistics.median(
            (many.cpu_us + many.database_us) / (few.cpu_us + few.database_us)
            for few, many in zip(self.few, self.many, strict=True)
        )


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        cpu_us=statistics.median(each.cpu_us for each in costs),
        database_us=statistics.median(each.database_us for each in costs),
        wall_us=statistics.median(each.wall_us for each in costs),
        written=statistics.median(each.written for each in costs),
    )


async def compare(
    what: str, sizes: tuple[str, str], gateways: Sequence[SizedGateway], loads: Sequence[str], timing: Timing
) -> list[Pairs]:
    """Both gateways under each load in turns, after one round that fills connections, caches and statements."""
    found = [Pairs(f"{what} {name}", sizes) for name in loads]
    drives = [[LOADS[name](gateway) for gateway in gateways] for name in loads]
    for number in range(timing.rounds + 1):
        for pairs, each in zip(found, drives, strict=True):
            seconds = timing.seconds if number else WARM_UP_S
            few, many = [await cost(gateway, drive, seconds) for gateway, drive in zip(gateways, each, strict=True)]
            if number:
                pairs.few.append(few)
                pairs.many.append(many)
    return found


# --- Runs -------------------------------------------------------------------------------------------------------------


async def by_providers(timing: Timing) -> list[Pairs]:
    """Few and many providers, on SQLite."""
    sizes = (f"{FEW_PROVIDERS} providers", f"{MANY_PROVIDERS} providers")
    async with bench_environment((SQLITE,)) as environment, AsyncExitStack() as stack:
        gateways = []
        for number in (FEW_PROVIDERS, MANY_PROVIDERS):
            database = SeededDatabase(environment, f"{number}-providers", SQLITE, number)
            await database.grow(FEW_REFERENCES)
            gateways.append(await stack.enter_async_context(database.serving()))
        return await compare(SQLITE, sizes, gateways, (RESULT, CLOSE), timing)


async def by_references(engine: str, max_references: int, growth: int, timing: Timing) -> AsyncIterator[list[Pairs]]:
    """A thousand stored references compared with `growth` times as many, and so on up to the maximum."""
    async with bench_environment((engine,)) as environment:
        small, large = (SeededDatabase(environment, name, engine, FEW_PROVIDERS) for name in ("small", "large"))
        await small.grow(FEW_REFERENCES)
        async with small.serving() as few:
            high = FEW_REFERENCES
            while high < max_references:
                high = min(high * growth, max_references)
                await large.grow(high)
                sizes = (f"{FEW_REFERENCES:,} references", f"{high:,} references")
                async with large.serving() as many:
                    yield await compare(engine, sizes, (few, many), tuple(LOADS), timing)


def report(found: Sequence[Pairs]) -> str:
    """The table: each figure at the one size and at the other."""
    head = f"{'call':<28} {'size':<18} {'and':<22} {'cpu us':>11} {'database us':>13} {'wall us':>11} {'written':>15}"
    lines = [f"{head} {'ratio':>6}"]
    for pairs in found:
        few, many = pairs.medians()
        lines.append(
            f"{pairs.what:<28} {pairs.sizes[0]:<18} {pairs.sizes[1]:<22} "
            f"{few.cpu_us:>5.0f} {many.cpu_us:>5.0f} {few.database_us:>6.0f} {many.database_us:>6.0f} "
            f"{few.wall_us:>5.0f} {many.wall_us:>5.0f} {few.written:>7.0f} {many.written:>7.0f} {pairs.ratio():>6.2f}"
        )
    return "\n".join(lines)


async def main(arguments: Sequence[str]) -> None:
    """Measure, and print as it goes."""
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("--only", default=",".join(("providers", *ENGINES)), help="comma-separated")
    parser.add_argument("--references", type=int, default=MANY_REFERENCES)
    parser.add_argument("--growth", type=int, default=10, help="factor of the references from step to step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    asked = parser.parse_args(arguments)
    timing = Timing(asked.rounds, asked.seconds)
    only = asked.only.split(",")
    if "providers" in only:
        print(report(await by_providers(timing)), flush=True)
    for engine in ENGINES:
        if engine in only:
            async for found in by_references(engine, asked.references, asked.growth, timing):
                print(report(found), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
