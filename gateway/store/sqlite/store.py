"""The store on SQLite, joined from its parts: each method hands one operation to the writer or to the reader."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from gateway.store.base import RecordsT, StoreUnavailable
from gateway.store.commit_notifier import CommitNotifier
from gateway.store.models import (
    AccountOpened,
    Applied,
    Balance,
    CloseFailure,
    CloseRecord,
    CloseSuccess,
    Credit,
    Discrepancy,
    Event,
    EventBatch,
    EventFilter,
    Exchange,
    ItemFilter,
    Page,
    Posting,
    PostingRefused,
    ProviderState,
    ProviderStateChange,
    ReconciliationItem,
    Target,
    WalletKind,
)
from gateway.store.posting import PostingRequest
from gateway.store.sqlite import callbacks, closures, events, items, journal, ledger, switches
from gateway.store.sqlite.audit import audit
from gateway.store.sqlite.file_lock import FileLock
from gateway.store.sqlite.postings import PostOne
from gateway.store.sqlite.reader import reader_thread
from gateway.store.sqlite.thread import ConnectionThread, Operation, call_on_loop
from gateway.store.sqlite.writer import ENGINE, writer_thread
from gateway.telemetry.tracing import in_span

if TYPE_CHECKING:  # a store that nobody counts does without
    from gateway.telemetry.metrics import Metrics

T = TypeVar("T")

_COMMIT = {"db.system.name": ENGINE, "db.operation.name": "COMMIT"}
"""On the span of a write: the wait for its turn, and for its commit."""


@dataclass(frozen=True, slots=True)
class _Connected:
    """What an open store has."""

    writer: ConnectionThread
    reader: ConnectionThread
    event_commits: CommitNotifier


class SqliteStore:
    """One SQLite file, for one process. `busy_seconds` bounds the wait for a lock that another process holds.

    It belongs to the event loop that `open` ran on. `metrics` are told of each commit.
    """

    def __init__(self, path: str, *, busy_seconds: float = 2.0, metrics: "Metrics | None" = None) -> None:
        self._path = path
        self._metrics = metrics
        self._busy_seconds = busy_seconds
        self._claim = FileLock(path)
        self._connected: _Connected | None = None

    # --- The database -------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and bring the schema to this release's. Raises StoreUnavailable."""
        if self._connected is not None:
            raise RuntimeError(f"database {self._path} is open already")
        self._claim.take()
        try:
            self._connected = await self._connect()
        except BaseException:
            self._claim.release()
            raise

    async def _connect(self) -> _Connected:
        commits = CommitNotifier()
        writer = writer_thread(
            self._path,
            self._busy_seconds,
            told=partial(call_on_loop, asyncio.get_running_loop(), commits.add),
            metrics=self._metrics,
        )
        await writer.start()
        reader = reader_thread(self._path, self._busy_seconds)
        try:
            await reader.start()
        except BaseException:
            await writer.close()
            raise
        return _Connected(writer, reader, commits)

    async def close(self) -> None:
        """Finish what is queued, and disconnect. Whoever waits for events gets StoreUnavailable."""
        if self._connected is None:
            return
        connected, self._connected = self._connected, None
        await connected.reader.close()
        await connected.writer.close()
        connected.event_commits.close()
        self._claim.release()

    async def ping(self) -> None:
        """Write, and commit. Raises StoreUnavailable."""
        await self._write(_ping)

    async def remember_providers(self, names: frozenset[str]) -> None:
        await self._write(lambda db: ledger.remember_providers(db, names))

    async def money_providers(self) -> frozenset[str]:
        return await self._read(ledger.money_providers)

    async def wallet_kinds(self) -> frozenset[WalletKind]:
        return await self._read(ledger.creditors)

    # --- Closures -----------------------------------------------------------------------------------------------------

    async def begin_close(self, request_id: str, target: Target, now: datetime) -> CloseRecord:
        return await self._write(lambda db: closures.begin_close(db, request_id, target, now))

    async def find_close(self, request_id: str) -> CloseRecord | None:
        return await self._read(lambda db: closures.find_close(db, request_id))

    async def settle_close(
        self, request_id: str, settled: CloseSuccess, exchange: Exchange, event: Event | None
    ) -> None:
        await self._write(lambda db: closures.settle_close(db, request_id, settled, exchange, event))

    async def fail_close(
        self, request_id: str, failed: CloseFailure, exchange: Exchange | None, item: ReconciliationItem | None = None
    ) -> None:
        await self._write(lambda db: closures.fail_close(db, request_id, failed, exchange, item))

    async def report_abandoned(self, begun_before: datetime, now: datetime) -> int:
        return await self._write(lambda db: closures.report_abandoned(db, begun_before, now))

    # --- Events -------------------------------------------------------------------------------------------------------

    async def record_expiry(self, event: Event, provider_id: str, exchange: Exchange) -> bool:
        return await self._write(lambda db: callbacks.record_expiry(db, event, provider_id, exchange))

    async def events_after(self, after_event_id: str, wanted: EventFilter, limit: int) -> Sequence[Event]:
        return await self._read(lambda db: events.after(db, after_event_id, wanted, limit))

    async def next_events(self, after_event_id: str, wanted: EventFilter, limit: int) -> EventBatch:
        return await self._read(lambda db: events.next_batch(db, after_event_id, wanted, limit))

    async def newest_event_id(self) -> str:
        return await self._read(events.newest_id)

    async def events_committed(self, seen: int) -> int:
        return await self._open_parts().event_commits.wait_past(seen)

    # --- Ledger -------------------------------------------------------------------------------------------------------

    async def open_account(self, user_id: str, currency: str, opening: Decimal, now: datetime) -> AccountOpened:
        return await self._write(lambda db: ledger.open_account(db, user_id, currency, opening, now))

    async def balance(self, user_id: str, currency: str) -> Balance | PostingRefused:
        return await self._read(lambda db: ledger.balance(db, user_id, currency))

    async def apply(
        self, posting: Posting, now: datetime, records_of: Callable[[Applied | PostingRefused], RecordsT]
    ) -> RecordsT:
        return await self._write(PostOne(PostingRequest(posting, now, records_of)))

    async def record_outcome(
        self,
        posting: Posting,
        outcome: Applied | PostingRefused,
        records_of: Callable[[Applied | PostingRefused], RecordsT],
        now: datetime,
    ) -> RecordsT:
        return await self._write(lambda db: ledger.record_outcome(db, posting, outcome, records_of, now))

    async def credit(self, provider: str, reference: str) -> Credit | None:
        return await self._read(lambda db: ledger.credit(db, provider, reference))

    async def credits_of(self, user_id: str, *, page_token: str = "", limit: int = 100) -> Page[Credit]:
        return await self._read(lambda db: ledger.credits_of(db, user_id, page_token, limit))

    async def discrepancies(self) -> Sequence[Discrepancy]:
        self._open_parts()
        # A thread and a connection of its own: the other reads go on.
        auditor = reader_thread(self._path, self._busy_seconds)
        await auditor.start()
        try:
            return (await auditor.run(audit)).discrepancies
        finally:
            await auditor.close()

    # --- Journal ------------------------------------------------------------------------------------------------------

    async def record_exchange(
        self, exchange: Exchange, item: ReconciliationItem | None = None, event: Event | None = None
    ) -> None:
        await self._write(lambda db: callbacks.record_exchange(db, exchange, item, event))

    async def exchanges(self, *, request_id: str = "", provider: str = "", limit: int = 100) -> Sequence[Exchange]:
        return await self._read(lambda db: journal.exchanges(db, request_id, provider, limit))

    async def exchange(self, id: str) -> Exchange | None:
        return await self._read(lambda db: journal.find(db, id))

    async def refused_callbacks(self, *, provider: str = "", page_token: str = "", limit: int = 100) -> Page[Exchange]:
        return await self._read(lambda db: journal.refused_callbacks(db, provider, page_token, limit))

    async def trim_bodies(self, ended_before: datetime, limit: int) -> int:
        return await self._write(lambda db: journal.trim_bodies(db, ended_before, limit))

    # --- Reconciliation -----------------------------------------------------------------------------------------------

    async def items(self, wanted: ItemFilter, *, page_token: str = "", limit: int = 100) -> Page[ReconciliationItem]:
        return await self._read(lambda db: items.items(db, wanted, page_token, limit))

    async def find_item(self, id: str) -> ReconciliationItem | None:
        return await self._read(lambda db: items.find(db, id))

    async def resolve_item(self, id: str, by: str, why: str, now: datetime) -> ReconciliationItem:
        return await self._write(lambda db: items.resolve(db, id, by, why, now))

    # --- Switches -----------------------------------------------------------------------------------------------------

    async def change_provider_state(
        self, provider: str, to: ProviderState, by: str, why: str, now: datetime
    ) -> tuple[ProviderStateChange | None, bool]:
        return await self._write(lambda db: switches.switch(db, provider, to, by, why, now))

    async def current_provider_states(self) -> Sequence[ProviderStateChange]:
        return await self._read(switches.standing)

    async def provider_state_changes(
        self, *, provider: str = "", page_token: str = "", limit: int = 100
    ) -> Page[ProviderStateChange]:
        return await self._read(lambda db: switches.switches(db, provider, page_token, limit))

    # ------------------------------------------------------------------------------------------------------------------

    async def _write(self, operation: Operation[T]) -> T:
        return await in_span("store commit", self._open_parts().writer.run(operation), _COMMIT)

    async def _read(self, operation: Operation[T]) -> T:
        return await self._open_parts().reader.run(operation)

    def _open_parts(self) -> _Connected:
        if self._connected is None:
            raise StoreUnavailable(f"database {self._path} is not open: nothing is read or written")
        return self._connected


def _ping(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO pings (only, count) VALUES (1, 1) ON CONFLICT (only) DO UPDATE SET count = count + 1")
