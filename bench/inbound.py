"""Durable Results, beside an empty aiohttp handler and beside one transaction a request: ratios of one run.

The servers run side by side, one of them under load at a time, in turns: what slows the machine slows all of them.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import uvloop

from bench.load import drive, request
from gateway.v1.wallet_service_pb2 import OpenAccountRequest
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.support.postgres import postgres_server
from tests.support.results import result_body

EMPTY = "empty aiohttp"
ONE_BY_ONE = "one by one"

KEY = "bench-" + "k" * 37
PROVIDER = "monaco"
ACCOUNTS = 1000
WARM_S = 1.0

CONFIGURATION = """
[grpc]
listen = "127.0.0.1:0"
[callbacks]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
url = "{url}"
[providers.monaco]
adapter = "luckymonaco"
base_url = "https://provider.invalid"
secure_login = "partner-1"
token = "bench-token-0123456789-0123456789-0123456789"
callback_keys = ["{key}"]
"""


@dataclass
class Server:
    """One server under test, and what was measured of it."""

    name: str
    pid: int
    port: int
    rates: dict[int, list[float]] = field(default_factory=dict)
    """Answers a second by round, by number of connections."""
    cpu_us: dict[int, list[float]] = field(default_factory=dict)
    """Microseconds of its processor time for each answer, likewise."""


@dataclass(frozen=True)
class Ratio:
    """One server beside the empty handler, at one number of connections: medians over the rounds."""

    name: str
    connections: int
    rate: float
    cpu_us: float
    ratio: float


def references() -> Iterator[bytes]:
    """Results, each with a reference of its own, spread over the accounts."""
    run = os.urandom(4).hex()
    path = f"/callbacks/{PROVIDER}/{KEY}/V4/Result"
    for number in count():
        yield request(path, result_body(f"{run}-{number:012}", userId=f"player-{number % ACCOUNTS}"))


@asynccontextmanager
async def serving(name: str, folder: Path, *command: str) -> AsyncIterator[tuple[Server, dict[str, Any]]]:
    """Start a server, and wait for its first line."""
    with (folder / f"{name.replace(' ', '-')}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *command, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    try:
        assert process.stdout is not None
        said = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        yield Server(name, process.pid, int(said["callbacks"].rpartition(":")[2])), said
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def gateway(name: str, folder: Path, url: str, module: str) -> AsyncIterator[Server]:
    """A gateway on a database of its own, with its accounts opened."""
    config = folder / f"{name.replace(' ', '-')}.toml"
    config.write_text(CONFIGURATION.format(url=url, key=KEY))
    async with serving(name, folder, module, "serve", "--config", str(config)) as (server, said):
        async with grpc.aio.insecure_channel(said["grpc"]) as channel:
            wallet = WalletServiceStub(channel)
            for number in range(ACCOUNTS):
                await wallet.OpenAccount(OpenAccountRequest(user_id=f"player-{number}", currency="USD"))
        yield server


@asynccontextmanager
async def all_servers(engines: Sequence[str]) -> AsyncIterator[list[Server]]:
    """The empty handler, and for each engine the gateway with and without group commit."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        empty, _ = await stack.enter_async_context(serving(EMPTY, folder, "bench.empty"))
        servers = [empty]
        postgres = stack.enter_context(postgres_server()) if "postgres" in engines else None
        for engine in engines:
            for suffix, module in (("", "gateway"), (f" {ONE_BY_ONE}", "bench.one_by_one")):
                name = engine + suffix
                if engine == "postgres" and postgres is not None:
                    url = postgres.url(await postgres.create())
                else:
                    url = f"sqlite:///{folder}/{name.replace(' ', '-')}.db"
                servers.append(await stack.enter_async_context(gateway(name, folder, url, module)))
        yield servers


async def measure(
    engines: Sequence[str] = ("sqlite", "postgres"),
    connections: Sequence[int] = (64, 256),
    *,
    rounds: int = 5,
    seconds: float = 3.0,
) -> list[Ratio]:
    """Every server under load in turns, round by round. Raises AssertionError for an answer that is not a success."""
    async with all_servers(engines) as servers:
        sources = {server.name: references() for server in servers}
        for width in connections:
            for _ in range(rounds):
                for server in servers:
                    await _round(server, sources[server.name], width, seconds)
    empty = servers[0]
    return [
        Ratio(
            server.name,
            width,
            statistics.median(server.rates[width]),
            statistics.median(server.cpu_us[width]),
            statistics.median(a / b for a, b in zip(server.rates[width], empty.rates[width], strict=True)),
        )
        for width in connections
        for server in servers
    ]


async def _round(server: Server, requests: Iterator[bytes], width: int, seconds: float) -> None:
    before, begun = _cpu_seconds(server.pid), time.perf_counter()
    tally, measured = await drive(
        "127.0.0.1",
        server.port,
        requests,
        connections=width,
        warm_s=WARM_S,
        seconds=seconds,
        expected=b'"error": 0' if server.name == EMPTY else b'"error":0',
    )
    took = time.perf_counter() - begun
    # One by one, some may wait for so long that they are told to send again.
    assert tally.wrong == 0 or ONE_BY_ONE in server.name, f"{server.name} answered {tally.first_wrong!r}"
    rate = tally.answered / measured
    server.rates.setdefault(width, []).append(rate)
    server.cpu_us.setdefault(width, []).append((_cpu_seconds(server.pid) - before) / (rate * took) * 1e6)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(ratios: Sequence[Ratio]) -> str:
    """The table."""
    lines = [f"{'server':<22} {'connections':>11} {'answers/s':>10} {'cpu us each':>12} {'ratio':>6}"]
    lines += [
        f"{each.name:<22} {each.connections:>11} {each.rate:>10.0f} {each.cpu_us:>12.0f} {each.ratio:>6.2f}"
        for each in ratios
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(uvloop.run(measure())))
