"""Durable Results, beside an empty aiohttp handler and beside one transaction a request."""

import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import uvloop

from bench.gateway import gateway
from bench.loads import http
from bench.loads.requests import results
from bench.loads.tally import Tally
from bench.measuring import WARM_S, Drive, Pace, Row, Subject, in_turns
from bench.processes import Server, serving
from bench.report import table
from tests.support.postgres import postgres_server

EMPTY = "empty aiohttp"
ONE_BY_ONE = "one by one"


def delivering(requests: Iterator[bytes], connections: int, rate: float | None = None) -> Drive:
    """The HTTP load, on whichever server."""

    async def drive(server: Server, seconds: float) -> Tally:
        return await http.drive(
            "127.0.0.1",
            server.port("callbacks"),
            requests,
            connections=connections,
            rate=rate,
            warm_s=WARM_S,
            seconds=seconds,
            expected=b'"error": 0' if server.name == EMPTY else b'"error":0',
            processor=server.processor_s,
        )

    return drive


@asynccontextmanager
async def servers(engines: Sequence[str]) -> AsyncIterator[list[Server]]:
    """The empty handler, and for each engine the gateway with and without group commit."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        under_test = [await stack.enter_async_context(serving(EMPTY, folder, "bench.servers.empty"))]
        postgres = stack.enter_context(postgres_server()) if "postgres" in engines else None
        for engine in engines:
            for suffix, module in (("", "gateway"), (f" {ONE_BY_ONE}", "bench.servers.one_by_one")):
                name = engine + suffix
                if engine == "postgres" and postgres is not None:
                    url = postgres.url(await postgres.create())
                else:
                    url = f"sqlite:///{folder}/{name.replace(' ', '-')}.db"
                under_test.append(await stack.enter_async_context(gateway(name, folder, url, module=module)))
        yield under_test


async def measure(
    engines: Sequence[str] = ("sqlite", "postgres"),
    connections: Sequence[int] = (64, 256),
    *,
    rounds: int = 5,
    seconds: float = 3.0,
) -> list[Row]:
    """Every server under load in turns, round by round. Raises AssertionError for an answer that is not a success."""
    async with servers(engines) as under_test:
        requests = results()
        rows = []
        for width in connections:
            drive = delivering(requests, width)
            subjects = [
                # One by one, some may wait for so long that they are told to send again.
                Subject(server, f"{width} connections", drive, lenient=ONE_BY_ONE in server.name)
                for server in under_test
            ]
            rows += await in_turns(subjects, Pace(rounds, seconds))
        return rows


if __name__ == "__main__":
    print(table("inbound", uvloop.run(measure())))
