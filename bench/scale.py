"""Whether a call costs the same with many providers, and with many stored references: pairs of one run.

The gateway with few and the gateway with many run side by side, under load in turns. What counts is the gateway's
processor time for each call, and what it writes: neither depends on what sends. Filling takes minutes, and
nearly a gigabyte of disk for each million: `make bench-scale ARGS="--references 1000000"` for a smaller run.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from uuid import uuid4

import uvloop

from bench.load.http import drive, request
from bench.seed import ACCOUNTS, RESULTS_A_CLOSE, Part, fill_sqlite
from bench.sized_gateways import FEW_PROVIDERS, Filled, Server, gateway, provider, secret_of
from gateway.v1.session_service_pb2 import OUTCOME_CLOSED, CloseSessionRequest
from tests.support.postgres import postgres_server
from tests.support.results import result_body

MANY_PROVIDERS = 300
FEW_REFERENCES, MANY_REFERENCES = 1_000, 10_000_000
AT_ONCE = 64


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


Load = Callable[[Server, float], Awaitable[int]]
"""Calls for so many seconds; answers how many. Raises AssertionError for an answer that is not a success."""


# --- Calls ------------------------------------------------------------------------------------------------------------


async def results(server: Server, seconds: float) -> int:
    """Results with references of their own, at all of the index, from each provider in turn."""
    numbers = zip(count(), cycle(server.providers), strict=False)
    return await _deliver(
        server, ((provider, uuid4().hex, f"player-{number % ACCOUNTS}") for number, provider in numbers), seconds
    )


async def results_again(server: Server, seconds: float) -> int:
    """Results that are stored, once more."""
    stored = (server.stored() for _ in count())
    return await _deliver(
        server,
        ((server.providers[0], part.reference(number), f"player-{number % ACCOUNTS}") for part, number in stored),
        seconds,
    )


async def closes(server: Server, seconds: float) -> int:
    """CloseSession, each with a request_id of its own, at each provider in turn."""
    numbers = zip(count(), cycle(server.providers), strict=False)
    return await _close(
        server,
        (
            CloseSessionRequest(request_id=str(uuid4()), provider=provider, user_id=f"player-{number % ACCOUNTS}")
            for number, provider in numbers
        ),
        seconds,
    )


async def closes_again(server: Server, seconds: float) -> int:
    """CloseSession with a request_id that is stored: it is answered as it was."""
    stored = ((part, number - number % RESULTS_A_CLOSE) for part, number in (server.stored() for _ in count()))
    return await _close(
        server,
        (
            CloseSessionRequest(
                request_id=part.request_id(number), provider=server.providers[0], user_id=f"player-{number % ACCOUNTS}"
            )
            for part, number in stored
        ),
        seconds,
    )


LOADS: Mapping[str, Load] = {
    "Result": results,
    "Result again": results_again,
    "CloseSession": closes,
    "CloseSession again": closes_again,
}


async def _deliver(server: Server, deliveries: Iterator[tuple[str, str, str]], seconds: float) -> int:
    requests = (
        request(f"/callbacks/{provider}/{secret_of(provider)}/V4/Result", result_body(reference, userId=user))
        for provider, reference, user in deliveries
    )
    tally = await drive(
        "127.0.0.1",
        server.callbacks_port,
        requests,
        connections=AT_ONCE,
        warm_s=0,
        seconds=seconds,
        expected=b'"error":0',
    )
    assert tally.wrong == 0, f"answered {tally.first_wrong!r}"
    return tally.answered


async def _close(server: Server, requests: Iterator[CloseSessionRequest], seconds: float) -> int:
    until = time.perf_counter() + seconds

    async def one_after_another() -> int:
        done = 0
        while time.perf_counter() < until:
            answer = await server.sessions.CloseSession(next(requests), timeout=10)
            assert answer.outcome == OUTCOME_CLOSED
            done += 1
        return done

    return sum(await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE))))


# --- What is measured -------------------------------------------------------------------------------------------------


async def cost(server: Server, load: Load, seconds: float) -> Cost:
    """What one call costs under this load."""
    before, begun = _used(server), time.perf_counter()
    calls = await load(server, seconds)
    took = time.perf_counter() - begun
    cpu, database, written = (after - then for after, then in zip(_used(server), before, strict=True))
    return Cost(cpu * 1e6 / calls, database * 1e6 / calls, took * 1e6 / calls, written / calls)


def _used(server: Server) -> tuple[float, float, float]:
    """Processor seconds of the gateway and of PostgreSQL, and bytes that the gateway had written to the disk."""
    written = Path(f"/proc/{server.pid}/io").read_text().partition("\nwrite_bytes: ")[2].partition("\n")[0]
    database = sum(map(_cpu_seconds, _family(server.database_pid))) if server.database_pid else 0.0
    return _cpu_seconds(server.pid), database, float(written)


def _family(pid: int) -> Sequence[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


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
    what: str, sizes: tuple[str, str], few: Server, many: Server, loads: Sequence[str], *, rounds: int, seconds: float
) -> list[Pairs]:
    """Both under each load in turns. One round goes before, so that connections, caches and statements are there."""
    found = [Pairs(f"{what} {name}", sizes) for name in loads]
    for number in range(rounds + 1):
        for name, pairs in zip(loads, found, strict=True):
            costs = [await cost(server, LOADS[name], seconds if number else 1.0) for server in (few, many)]
            if number:
                pairs.few.append(costs[0])
                pairs.many.append(costs[1])
    return found


# --- Runs -------------------------------------------------------------------------------------------------------------


async def by_providers(*, rounds: int, seconds: float) -> list[Pairs]:
    """Few and many providers, on SQLite."""
    sizes = (f"{FEW_PROVIDERS} providers", f"{MANY_PROVIDERS} providers")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port = await stack.enter_async_context(provider())
        servers = []
        for name, providers in (("few", FEW_PROVIDERS), ("many", MANY_PROVIDERS)):
            url = f"sqlite:///{folder}/{name}.db"
            async with gateway(folder, name, url, providers, port):
                pass  # makes the tables
            await asyncio.to_thread(fill_sqlite, folder / f"{name}.db", Part(0, FEW_REFERENCES))
            servers.append(await stack.enter_async_context(gateway(folder, name, url, providers, port)))
        few, many = servers
        return await compare("sqlite", sizes, few, many, ("Result", "CloseSession"), rounds=rounds, seconds=seconds)


async def by_references(
    engine: str, most: int, *, growth: int, rounds: int, seconds: float
) -> AsyncIterator[list[Pairs]]:
    """A thousand stored references beside so many times as many, and so on up to the most."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port = await stack.enter_async_context(provider())
        postgres = stack.enter_context(postgres_server()) if engine == "postgres" else None
        small, large = Filled(folder, "small", postgres), Filled(folder, "large", postgres)
        await small.grow(FEW_REFERENCES, port)
        few = await stack.enter_async_context(small.serving(port))
        high = FEW_REFERENCES
        while high < most:
            high = min(high * growth, most)
            await large.grow(high, port)
            sizes = (f"{FEW_REFERENCES:,} references", f"{high:,} references")
            async with large.serving(port) as many:
                yield await compare(engine, sizes, few, many, tuple(LOADS), rounds=rounds, seconds=seconds)


def report(found: Sequence[Pairs]) -> str:
    """The table: each figure at the one size and at the other."""
    head = (
        f"{'call':<28} {'beside':<18} {'size':<22} {'cpu us':>11} {'database us':>13} {'wall us':>11} {'written':>15}"
    )
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
    parser.add_argument("--only", default="providers,sqlite,postgres")
    parser.add_argument("--references", type=int, default=MANY_REFERENCES)
    parser.add_argument("--growth", type=int, default=10, help="so many times as many references with each step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args(arguments)
    only = chosen.only.split(",")
    if "providers" in only:
        print(report(await by_providers(rounds=chosen.rounds, seconds=chosen.seconds)), flush=True)
    for engine in ("sqlite", "postgres"):
        if engine in only:
            async for found in by_references(
                engine, chosen.references, growth=chosen.growth, rounds=chosen.rounds, seconds=chosen.seconds
            ):
                print(report(found), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
