"""CloseSession through the gateway, journal and idempotency durable, beside the floor."""

import argparse
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import uvloop

from bench.gateway import gateway
from bench.loads import grpc
from bench.loads.grpc import Call
from bench.loads.requests import CLOSE_SESSION, closes
from bench.loads.tally import Tally
from bench.measuring import WARM_S, Drive, Pace, Row, Subject, in_turns
from bench.processes import Server, serving
from bench.report import table

FLOOR = "floor"
UNDER_WAY = 64


def calling(path: str, calls: Iterator[Call], under_way: int, rate: float | None = None) -> Drive:
    """The gRPC load, on whichever server."""

    async def drive(server: Server, seconds: float) -> Tally:
        return await grpc.drive(
            "127.0.0.1",
            server.port("grpc"),
            path,
            calls,
            under_way=under_way,
            rate=rate,
            warm_s=WARM_S,
            seconds=seconds,
            processor=server.processor_s,
        )

    return drive


@asynccontextmanager
async def servers() -> AsyncIterator[list[Server]]:
    """The floor and the gateway, before one provider."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        provider = await stack.enter_async_context(serving("provider", folder, "bench.servers.provider"))
        base_url = f"http://{provider.said['http']}"
        yield [
            await stack.enter_async_context(serving(FLOOR, folder, "bench.servers.floor", base_url)),
            await stack.enter_async_context(gateway("sqlite", folder, f"sqlite:///{folder}/out.db", base_url=base_url)),
        ]


async def measure(pace: Pace, under_way: int = UNDER_WAY) -> list[Row]:
    """Each server under the same load, in turns."""
    async with servers() as under_test:
        drive = calling(CLOSE_SESSION, closes(), under_way)
        return await in_turns([Subject(server, f"{under_way} under way", drive) for server in under_test], pace)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.outbound", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--under-way", type=int, default=UNDER_WAY)
    asked = parser.parse_args(arguments)
    print(table("outbound", uvloop.run(measure(Pace(asked.rounds, asked.seconds), asked.under_way))))


if __name__ == "__main__":
    main()
