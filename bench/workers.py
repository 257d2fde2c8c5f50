"""Several gateway processes on one PostgreSQL, compared with one: closes and Results."""

from contextlib import AsyncExitStack
from dataclasses import replace

from bench.environment import POSTGRES, BenchEnvironment
from bench.inbound import delivering
from bench.outbound import IN_FLIGHT, closing
from bench.rounds import Row, Subject, Timing, at_full

NUMBERS = (1, 2, 4)

CONNECTIONS = 32
"""The system spreads connections over processes as it likes: of a few, one process could have all."""


async def measure(environment: BenchEnvironment, timing: Timing) -> list[Row]:
    """Closes first, then Results, with each number of processes."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(environment.gateway(POSTGRES, f", {_workers(number)}", workers=number))
            for number in NUMBERS
        ]
        rows = []
        for direction, drive in (("out", closing(CONNECTIONS)), ("in", delivering())):
            found = await at_full([Subject(server, drive) for server in servers], IN_FLIGHT, timing)
            rows += [replace(row, name=f"{direction}, {row.name}") for row in found]
        return rows


def _workers(number: int) -> str:
    return "1 worker" if number == 1 else f"{number} workers"
