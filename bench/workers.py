"""Several gateway processes on one PostgreSQL, beside one: out and in."""

from contextlib import AsyncExitStack
from dataclasses import replace

from bench.environment import POSTGRES, Ground
from bench.inbound import delivering
from bench.outbound import UNDER_WAY, closing
from bench.rounds import Pace, Row, Subject, at_full

NUMBERS = (1, 2, 4)

CONNECTIONS = 32
"""The system spreads connections over processes as it likes: with a few, one process could have them all."""


async def measure(ground: Ground, pace: Pace) -> list[Row]:
    """Closes first, then Results, each by so many processes."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(ground.gateway(POSTGRES, f", {number} {_noun(number)}", workers=number))
            for number in NUMBERS
        ]
        rows = []
        for direction, drive in (("out", closing(CONNECTIONS)), ("in", delivering())):
            found = await at_full([Subject(server, drive) for server in servers], UNDER_WAY, pace)
            rows += [replace(row, name=f"{direction}, {row.name}") for row in found]
        return rows


def _noun(number: int) -> str:
    return "worker" if number == 1 else "workers"
