"""What the demo's steps act on: the gateway's services, and the simulated providers behind it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from grpc import aio

from gateway.cli.demo.children import Started
from gateway.cli.demo.examples import Example
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub

if TYPE_CHECKING:
    from gateway.v1.session_service_pb2_grpc import SessionServiceAsyncStub
    from gateway.v1.wallet_service_pb2_grpc import WalletServiceAsyncStub


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulated provider, as a process that listens."""

    example: Example
    base_url: str
    http: aiohttp.ClientSession

    async def ask(self, path: str, order: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Ask the simulator's control for something; POST where there is an order. Raises aiohttp.ClientError."""
        url = f"{self.base_url}/_simulator/{path}"
        async with self.http.request("POST" if order is not None else "GET", url, json=order) as response:
            answer: dict[str, Any] = await response.json()
            if response.status != 200:
                raise aiohttp.ClientError(f"{self.example.adapter}: {answer.get('error', response.status)}")
            return answer

    async def received(self) -> list[dict[str, Any]]:
        """The requests that arrived, with what was answered."""
        exchanges: list[dict[str, Any]] = (await self.ask("exchanges"))["received"]
        return exchanges


@dataclass(frozen=True, slots=True)
class DemoEnvironment:
    """Everything that runs."""

    sessions: "SessionServiceAsyncStub"
    wallet: "WalletServiceAsyncStub"
    providers: Sequence[Simulated]


@asynccontextmanager
async def world(examples: Sequence[Example], started: Started) -> AsyncIterator[DemoEnvironment]:
    """Connect to what has started, and tell each simulator where its callbacks go. Raises aiohttp.ClientError."""
    async with aiohttp.ClientSession() as http, aio.insecure_channel(started.gateway["grpc"]) as channel:
        simulated = [Simulated(example, started.simulators[example.adapter], http) for example in examples]
        for one in simulated:
            if url := started.callbacks.get(one.example.adapter):
                await one.ask("callback-url", {"url": url})
        yield DemoEnvironment(SessionServiceStub(channel), WalletServiceStub(channel), simulated)
