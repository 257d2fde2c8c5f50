"""What the demo's steps call: the gateway's services and the simulated providers."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from grpc import aio

from gateway.cli.demo.examples import Example
from gateway.cli.demo.processes import Addresses
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub

if TYPE_CHECKING:
    from gateway.v1.session_service_pb2_grpc import SessionServiceAsyncStub
    from gateway.v1.wallet_service_pb2_grpc import WalletServiceAsyncStub


@dataclass(frozen=True, slots=True)
class SimulatedProvider:
    """A simulator's process, called through its control."""

    example: Example
    base_url: str
    http: aiohttp.ClientSession

    async def control(self, path: str, order: Mapping[str, object] | None = None) -> dict[str, Any]:
        """GET from the simulator's control, or POST an order to it. Raises aiohttp.ClientError."""
        url = f"{self.base_url}/_simulator/{path}"
        async with self.http.request("POST" if order is not None else "GET", url, json=order) as response:
            answer: dict[str, Any] = await response.json()
            if response.status != 200:
                raise aiohttp.ClientError(f"{self.example.adapter}: {answer.get('error', response.status)}")
            return answer

    async def received(self) -> list[dict[str, Any]]:
        """The requests that it received, with its answers."""
        exchanges: list[dict[str, Any]] = (await self.control("exchanges"))["received"]
        return exchanges


@dataclass(frozen=True, slots=True)
class DemoEnvironment:
    """The clients of all processes."""

    sessions: "SessionServiceAsyncStub"
    wallet: "WalletServiceAsyncStub"
    providers: Sequence[SimulatedProvider]


@asynccontextmanager
async def connect(examples: Sequence[Example], addresses: Addresses) -> AsyncIterator[DemoEnvironment]:
    """Connect to the processes, and give each simulator its callback URL. Raises aiohttp.ClientError."""
    async with aiohttp.ClientSession() as http, aio.insecure_channel(addresses.gateway["grpc"]) as channel:
        providers = [SimulatedProvider(example, addresses.simulators[example.adapter], http) for example in examples]
        for provider in providers:
            if url := addresses.callbacks.get(provider.example.adapter):
                await provider.control("callback-url", {"url": url})
        yield DemoEnvironment(SessionServiceStub(channel), WalletServiceStub(channel), providers)
