"""Durable Results, compared with an empty aiohttp handler and with one transaction for each request."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bench.environment import BenchEnvironment
from bench.load.requests import results
from bench.rounds import Drive, Row, Subject, Timing, at_full, at_less, posting

EMPTY = "empty aiohttp"
ONE_BY_ONE = "one by one"
WIDTHS = (64, 256)
"""Connections, each with one callback in flight."""


def delivering(success: bytes = b'"error":0') -> Drive:
    """Results over HTTP."""
    return posting("callbacks", results(), success)


@asynccontextmanager
async def subjects(environment: BenchEnvironment) -> AsyncIterator[list[Subject]]:
    """The empty handler, and for each engine the gateway with and without group commit."""
    drive = delivering()
    servers = {EMPTY: (delivering(b'"error": 0'), environment.serving(EMPTY, "bench.servers.empty"))}
    for engine in environment.engines:
        alone = environment.gateway(engine, f" {ONE_BY_ONE}", module="bench.servers.one_by_one")
        servers |= {engine: (drive, environment.gateway(engine)), f"{engine} {ONE_BY_ONE}": (drive, alone)}
    async with AsyncExitStack() as stack:
        yield [
            # One by one, some may wait until they are answered that they must be sent again.
            Subject(await stack.enter_async_context(server), how, lenient=ONE_BY_ONE in name)
            for name, (how, server) in servers.items()
            if environment.wants(name)
        ]


async def measure(environment: BenchEnvironment, timing: Timing) -> list[Row]:
    """As fast as each can, then at lower rates, without the servers that do not group."""
    async with subjects(environment) as under_test:
        narrow, wide = [await at_full(under_test, width, timing) for width in WIDTHS]
        grouping = [(subject, row) for subject, row in zip(under_test, narrow, strict=True) if not subject.lenient]
        less = await at_less([subject for subject, _ in grouping], [row for _, row in grouping], timing)
        return narrow + wide + less
