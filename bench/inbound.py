"""Durable Results, beside an empty aiohttp handler and beside one transaction a request."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from bench.environment import ENGINES, Ground, ground
from bench.load.requests import results
from bench.rounds import Drive, Pace, Row, Subject, at_full, at_less, posting

EMPTY = "empty aiohttp"
ONE_BY_ONE = "one by one"
WIDTHS = (64, 256)
"""Connections, each with one callback under way."""


def delivering(success: bytes = b'"error":0') -> Drive:
    """Results over HTTP."""
    return posting("callbacks", results(), success)


@asynccontextmanager
async def subjects(on: Ground, engines: Sequence[str]) -> AsyncIterator[list[Subject]]:
    """The empty handler, and for each engine the gateway with and without group commit."""
    drive = delivering()
    starting = {EMPTY: (delivering(b'"error": 0'), on.serving(EMPTY, "bench.servers.empty"))}
    for engine in engines:
        alone = on.gateway(engine, f" {ONE_BY_ONE}", module="bench.servers.one_by_one")
        starting |= {engine: (drive, on.gateway(engine)), f"{engine} {ONE_BY_ONE}": (drive, alone)}
    async with AsyncExitStack() as stack:
        yield [
            # One by one, some may wait for so long that they are told to send again.
            Subject(await stack.enter_async_context(server), how, lenient=ONE_BY_ONE in name)
            for name, (how, server) in starting.items()
            if on.wants(name)
        ]


async def measure(on: Ground, pace: Pace, engines: Sequence[str] = ENGINES) -> list[Row]:
    """As fast as each can, then with less to do for those that group."""
    async with subjects(on, engines) as under_test:
        narrow, wide = [await at_full(under_test, width, pace) for width in WIDTHS]
        grouping = [(subject, row) for subject, row in zip(under_test, narrow, strict=True) if not subject.lenient]
        less = await at_less([subject for subject, _ in grouping], [row for _, row in grouping], pace)
        return narrow + wide + less


async def measure_alone(engines: Sequence[str], pace: Pace) -> list[Row]:
    """On ground of its own, as fast as each can."""
    async with ground(engines) as on, subjects(on, engines) as under_test:
        return [row for width in WIDTHS for row in await at_full(under_test, width, pace)]
