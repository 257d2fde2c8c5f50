"""A callback harness whose Results a remote wallet credits: a real gRPC server that each test scripts."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gateway.callbacks.handler import TIME_LIMIT_S
from gateway.store.base import Store
from gateway.store.ceilings import Ceiling
from gateway.wallet.channel import WalletAddress
from gateway.wallet.remote import RemoteWallet
from tests.gateway.callbacks.harness import MONACO, CallbackHarness, HarnessOptions, clock, open_harness
from tests.support.results import RESULT
from tests.support.wallet import ScriptedWallet, scripted_wallet


@dataclass(frozen=True, slots=True)
class WalletHarness:
    """The callback harness, and the wallet that it calls."""

    callbacks: CallbackHarness
    wallet: ScriptedWallet

    async def event_types(self) -> list[str]:
        """The types of all events, once there are any: PostgreSQL numbers them after their commit."""
        seen = -1
        async with asyncio.timeout(30):
            while not (events := await self.callbacks.events()):
                seen = await self.callbacks.store.events_committed(seen)
        return [event.type for event in events]

    async def deliver(self, body: Any = RESULT) -> Any:
        """Deliver a Result, and return the JSON of its reply."""
        reply = await self.callbacks.deliver(MONACO.path("Result"), body)
        assert reply.status == 200
        return reply.json


@asynccontextmanager
async def open_wallet_harness(
    folder: Path,
    *,
    url: str = "",
    time_limit_s: float = TIME_LIMIT_S,
    ceilings: Mapping[str, Ceiling] = MappingProxyType({}),
    **wallet_limits: Any,
) -> AsyncIterator[WalletHarness]:
    """A harness on SQLite, or on the engine of `url`. Limits that are not given are the defaults."""
    async with scripted_wallet() as scripted:

        def wallet(store: Store) -> RemoteWallet:
            return RemoteWallet(WalletAddress(scripted.target), store, clock, **wallet_limits)

        options = HarnessOptions(url=url, wallet=wallet, time_limit_s=time_limit_s, busy_seconds=60, ceilings=ceilings)
        async with open_harness(folder, options) as callbacks:
            yield WalletHarness(callbacks, scripted)
