"""What the demo stands on: one configuration for all, a simulator a provider, and the gateway between."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from grpc import aio

from gateway.app.example import Example
from gateway.demo.process import child
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
class World:
    """Everything that runs."""

    sessions: "SessionServiceAsyncStub"
    wallet: "WalletServiceAsyncStub"
    providers: Sequence[Simulated]
    addresses: Mapping[str, str]


@asynccontextmanager
async def world(examples: Sequence[Example], folder: Path, faults: Mapping[str, str]) -> AsyncIterator[World]:
    """Start all of it on free ports, at once; `faults` by adapter. Raises ChildFailed."""
    keys = {example.adapter: secrets.token_urlsafe(32) for example in examples if example.result_path}
    draft = folder / "draft.toml"
    draft.write_text(_configuration(folder, examples, keys, {}))
    # The gateway's configuration names where the simulators listen: it starts beside them, and reads it when they do.
    configuration: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        serve = child("gateway", folder, "serve", "--config", "/dev/stdin", reads=configuration)
        gateway = asyncio.create_task(stack.enter_async_context(serve))
        try:
            urls = await _all_started(
                {
                    example.adapter: stack.enter_async_context(
                        _simulator(example, draft, folder, faults.get(example.adapter))
                    )
                    for example in examples
                }
            )
            configuration.set_result(_configuration(folder, examples, keys, urls))
        except BaseException:
            configuration.cancel()
            await asyncio.wait({gateway})
            raise
        addresses = await gateway
        simulated = [Simulated(example, urls[example.adapter], http) for example in examples]
        for one in simulated:
            if key := keys.get(one.example.adapter):
                url = f"http://{addresses['callbacks']}/callbacks/{one.example.adapter}/{key}"
                await one.ask("callback-url", {"url": url})
        channel = await stack.enter_async_context(aio.insecure_channel(addresses["grpc"]))
        addresses.pop("event")
        yield World(SessionServiceStub(channel), WalletServiceStub(channel), simulated, addresses)


async def _all_started(starting: Mapping[str, Awaitable[str]]) -> dict[str, str]:
    """Wait for all, also where one fails, so that each that did start is ended in its turn."""
    outcomes = await asyncio.gather(*starting.values(), return_exceptions=True)
    failed = next((outcome for outcome in outcomes if isinstance(outcome, BaseException)), None)
    if failed is not None:
        raise failed
    return {name: str(outcome) for name, outcome in zip(starting, outcomes, strict=True)}


@asynccontextmanager
async def _simulator(example: Example, config: Path, folder: Path, fault: str | None) -> AsyncIterator[str]:
    arguments = ["--config", str(config), "--provider", example.adapter, "--listen", "127.0.0.1:0"]
    arguments += ["--session", f"{example.user_id}:{example.session_id}:{example.game_id}"]
    if fault:
        arguments += ["--fault", fault]
    async with child(f"{example.adapter}-simulator", folder, "simulate", *arguments) as said:
        yield str(said["listening"])


def _configuration(folder: Path, examples: Sequence[Example], keys: Mapping[str, str], urls: Mapping[str, str]) -> str:
    """The one configuration that gateway and simulators share. A JSON string is a TOML string."""
    lines = [f'[{section}]\nlisten = "127.0.0.1:0"' for section in ("grpc", "callbacks", "admin")]
    lines.append(f"[store]\nurl = {json.dumps(f'sqlite:///{folder}/gateway.db')}")
    for example in examples:
        keyed = {
            "adapter": example.adapter,
            "base_url": urls.get(example.adapter, "http://127.0.0.1:1"),
            "allow_plain_http": True,
            "allow_private_addresses": True,
            "token": "demo-token",
            **example.settings,
            **({"callback_keys": [keys[example.adapter]]} if example.adapter in keys else {}),
        }
        lines.append(f"[providers.{example.adapter}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keyed.items()]
    return "\n".join(lines) + "\n"
