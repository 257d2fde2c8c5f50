"""A house whose Results the operator's own wallet credits: a real gRPC server, whose behaviour each test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.callbacks.handler import TIME_LIMIT_S
from gateway.store.base import Store
from gateway.wallet.channel import WalletAddress
from gateway.wallet.remote import RemoteWallet
from tests.gateway.callbacks.harness import (
    MONACO,
    Furnishing,
    House,
    clock,
    open_house,
)
from tests.support.results import RESULT
from tests.support.wallet import ScriptedWallet, scripted_wallet


@dataclass(frozen=True, slots=True)
class Scene:
    """A house, and the wallet behind it."""

    house: House
    wallet: ScriptedWallet

    async def told(self) -> list[str]:
        """The types of all events, once there are any: PostgreSQL's are numbered after their commit."""
        seen = -1
        async with asyncio.timeout(5):
            while not (events := await self.house.events()):
                seen = await self.house.store.events_committed(seen)
        return [event.type for event in events]

    async def deliver(self, body: Any = RESULT) -> Any:
        said = await self.house.deliver(MONACO.path("Result"), body)
        assert said.status == 200
        return said.json


@asynccontextmanager
async def a_scene(
    folder: Path, *, url: str = "", time_limit_s: float = TIME_LIMIT_S, **patience: Any
) -> AsyncIterator[Scene]:
    """A scene on SQLite, or on the engine of `url`, with the usual limits where no other are given."""
    async with scripted_wallet() as scripted:

        def wallet(store: Store) -> RemoteWallet:
            return RemoteWallet(WalletAddress(scripted.target), store, clock, **patience)

        furnishing = Furnishing(url=url, wallet=wallet, time_limit_s=time_limit_s, busy_seconds=60)
        async with open_house(folder, furnishing) as house:
            yield Scene(house, scripted)
