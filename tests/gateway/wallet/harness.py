"""An operator's wallet asked over a real connection, with a real store for the records."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import Result
from gateway.store.models import Event, EventFilter
from gateway.store.reconciliation import ItemFilter, ReconciliationItem
from gateway.store.sqlite import SqliteStore
from gateway.wallet.base import PostingOutcome, WalletUnavailable
from gateway.wallet.channel import ClientPem, WalletAddress
from gateway.wallet.remote import RemoteWallet
from tests.gateway.wallet.journal import NOW, RESULT, records_of

SHORT_TIMEOUTS: dict[str, Any] = {"attempt_timeout_s": 1.0, "credit_timeout_s": 1.5}
"""Shorter timeouts than the defaults, for tests that reach them."""


@dataclass(frozen=True, slots=True)
class RemoteWalletHarness:
    """A gateway's side of an operator's wallet."""

    wallet: RemoteWallet
    store: SqliteStore
    path: Path

    async def credit(self, result: Result = RESULT) -> PostingOutcome:
        return (await self.wallet.credit("monaco", result, records_of(result))).outcome

    async def fails(self, result: Result = RESULT) -> str:
        """What is said where the outcome stays unknown."""
        with pytest.raises(WalletUnavailable) as raised:
            await self.credit(result)
        assert raised.value.asked
        return str(raised.value)

    async def events(self) -> list[Event]:
        return list(await self.store.events_after("", EventFilter(), 1000))

    async def items(self) -> list[ReconciliationItem]:
        return list((await self.store.items(ItemFilter())).entries)


@asynccontextmanager
async def remote_wallet(
    folder: Path, target: str, tls: ClientPem | None = None, **options: Any
) -> AsyncIterator[RemoteWalletHarness]:
    """Ask the wallet at this target."""
    path = folder / "gateway.db"
    store = SqliteStore(str(path), busy_seconds=0.1)
    await store.open()
    wallet = RemoteWallet(WalletAddress(target, tls), store, lambda: NOW, **options)
    await wallet.start()
    try:
        yield RemoteWalletHarness(wallet, store, path)
    finally:
        await wallet.close()
        await store.close()
