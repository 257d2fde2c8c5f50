"""The memory of a process: at rest, and for a thousand calls that a provider has not answered yet."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from bench.environment import USERS, BenchEnvironment, providers
from bench.outbound import BASELINE
from bench.processes import Server
from bench.results import Figure
from bench.rounds import Timing
from bench.servers.provider import ANSWER
from gateway.v1.session_service_pb2 import CloseSessionRequest
from gateway.v1.session_service_pb2_grpc import SessionServiceStub

OPEN = 1000
PROVIDERS = providers(20)
"""Enough that no provider's calls wait for a connection."""

CALL_TIMEOUT_S = 60.0
SETTLING_S = 1.0


@dataclass
class _Holding:
    """A provider that answers its first request, and after it none."""

    requests: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Receive what comes on one connection."""
        try:
            while await reader.readuntil(b"}"):
                self.requests += 1
                if self.requests == 1:
                    writer.write(ANSWER)
                if self.requests > OPEN:
                    self.enough.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def _provider() -> AsyncIterator[tuple[_Holding, str]]:
    holding = _Holding()
    server = await asyncio.start_server(holding.handle, "127.0.0.1", 0, backlog=OPEN)
    try:
        yield holding, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def measure(environment: BenchEnvironment, _timing: Timing) -> list[Figure]:
    """Each once: memory does not depend on what else runs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # ours, and that of what we start
    figures = []
    for name in (BASELINE, *environment.engines):
        async with (
            _provider() as (holding, address),
            environment.serving(name, *await _command(environment, name, address)) as server,
        ):
            figures.append(await _held(server, holding))
    baseline = figures[0]
    return [
        Figure(name, what, value, "MiB", value / base)
        for name, held in zip((BASELINE, *environment.engines), figures, strict=True)
        for what, value, base in zip(("at rest", f"for {OPEN:,} open calls"), held, baseline, strict=True)
    ]


async def _command(environment: BenchEnvironment, name: str, provider: str) -> tuple[str, ...]:
    if name == BASELINE:
        return "bench.servers.baseline", f"http://{provider}", str(OPEN)
    config = environment.configuration(await environment.database(name), provider=provider, names=PROVIDERS)
    return "gateway", "serve", "--config", str(config)


async def _held(server: Server, holding: _Holding) -> tuple[float, float]:
    """MiB at rest, and what the open calls add."""
    async with grpc.aio.insecure_channel(server.said["grpc"]) as channel:
        close = SessionServiceStub(channel).CloseSession
        await close(_request(0), timeout=CALL_TIMEOUT_S)
        await asyncio.sleep(SETTLING_S)
        at_rest = server.resident_bytes()
        calls = [
            asyncio.ensure_future(close(_request(number), timeout=CALL_TIMEOUT_S)) for number in range(1, OPEN + 1)
        ]
        await asyncio.wait_for(holding.enough.wait(), CALL_TIMEOUT_S)
        await asyncio.sleep(SETTLING_S)
        loaded = server.resident_bytes()
        assert not any(call.done() for call in calls), "a call that the provider holds was answered"
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    return at_rest / 2**20, (loaded - at_rest) / 2**20


def _request(number: int) -> CloseSessionRequest:
    return CloseSessionRequest(provider=PROVIDERS[number % len(PROVIDERS)], user_id=f"player-{number % USERS}")
