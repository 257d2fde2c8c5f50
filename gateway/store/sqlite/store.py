"""The store on SQLite: each method runs one operation on the thread that writes, or on the one that reads."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from gateway.store.base import RecordsT, StoreUnavailable
from gateway.store.batching import CommitMetrics
from gateway.store.ceilings import Ceiling
from gateway.store.commit_notifier import CommitNotifier
from gateway.store.models import Applied, Discrepancy, Posting, PostingRefused
from gateway.store.posting import PostingRequest
from gateway.store.sqlite import callbacks, closures, events, journal, ledger, switches
from gateway.store.sqlite import items as reconciliation
from gateway.store.sqlite.audit import audit
from gateway.store.sqlite.file_lock import FileLock
from gateway.store.sqlite.postings import PostOne
from gateway.store.sqlite.reader import reader_thread
from gateway.store.sqlite.thread import ConnectionThread, Operation, call_on_loop
from gateway.store.sqlite.writer import ENGINE, writer_thread
from gateway.telemetry.tracing import in_span

P = ParamSpec("P")
T = TypeVar("T")

_COMMIT = {"db.system.name": ENGINE, "db.operation.name": "COMMIT"}
"""On the span of a write, which includes the wait in the queue."""


def _write_method(
    operation: Callable[Concatenate[sqlite3.Connection, P], T],
) -> Callable[Concatenate["SqliteStore", P], Coroutine[Any, Any, T]]:
    """A method that runs the operation on the thread that writes."""

    @wraps(operation)
    async def method(store: "SqliteStore", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await store.write(lambda db: operation(db, *args, **kwargs))

    return method


def _read_method(
    operation: Callable[Concatenate[sqlite3.Connection, P], T],
) -> Callable[Concatenate["SqliteStore", P], Coroutine[Any, Any, T]]:
    """A method that runs the operation on the thread that reads."""

    @wraps(operation)
    async def method(store: "SqliteStore", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await store.read(lambda db: operation(db, *args, **kwargs))

    return method


@dataclass(frozen=True, slots=True)
class _Connected:
    """The parts of an open store."""

    writer: ConnectionThread
    reader: ConnectionThread
    event_commits: CommitNotifier


def _ping(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO pings (only, count) VALUES (1, 1) ON CONFLICT (only) DO UPDATE SET count = count + 1")


class SqliteStore:
    """One SQLite file, for one process. `busy_seconds` bounds the wait for a lock that another process holds.

    It belongs to the event loop that `open` ran on. `metrics` count each commit.
    """

    def __init__(self, path: str, *, busy_seconds: float = 2.0, metrics: CommitMetrics | None = None) -> None:
        self._path = path
        self._metrics = metrics
        self._busy_seconds = busy_seconds
        self._lock = FileLock(path)
        self._connected: _Connected | None = None

    async def open(self) -> None:
        """Connect and bring the schema to this release's. Raises StoreUnavailable."""
        if self._connected is not None:
            raise RuntimeError(f"database {self._path} is open already")
        locking = asyncio.ensure_future(asyncio.to_thread(self._lock.acquire))
        try:
            await asyncio.shield(locking)
            self._connected = await self._connect()
        except BaseException:
            await asyncio.wait({locking})  # the thread locks also where this start was cancelled
            self._lock.release()
            raise

    async def _connect(self) -> _Connected:
        commits = CommitNotifier()
        on_events = partial(call_on_loop, asyncio.get_running_loop(), commits.add)
        writer = writer_thread(self._path, self._busy_seconds, on_events=on_events, metrics=self._metrics)
        await writer.start()
        reader = reader_thread(self._path, self._busy_seconds)
        try:
            await reader.start()
        except BaseException:
            await writer.close()
            raise
        return _Connected(writer, reader, commits)

    async def close(self) -> None:
        """Finish what is queued, and disconnect. Tasks that wait for events get StoreUnavailable."""
        if self._connected is None:
            return
        connected, self._connected = self._connected, None
        await connected.reader.close()
        await connected.writer.close()
        connected.event_commits.close()
        self._lock.release()

    ping = _write_method(_ping)
    remember_providers = _write_method(ledger.remember_providers)
    money_providers = _read_method(ledger.money_providers)
    wallet_kinds = _read_method(ledger.wallet_kinds)

    begin_close = _write_method(closures.begin_close)
    find_close = _read_method(closures.find_close)
    settle_close = _write_method(closures.settle_close)
    fail_close = _write_method(closures.fail_close)
    report_abandoned = _write_method(closures.report_abandoned)

    record_expiry = _write_method(callbacks.record_expiry)
    events_after = _read_method(events.events_after)
    next_events = _read_method(events.next_events)
    newest_event_id = _read_method(events.newest_event_id)

    async def events_committed(self, seen: int) -> int:
        """Wait until more than `seen` commits have added events, and return how many have."""
        return await self._open_parts().event_commits.wait_past(seen)

    open_account = _write_method(ledger.open_account)
    balance = _read_method(ledger.balance)
    credit = _read_method(ledger.credit)
    credits_of = _read_method(ledger.credits_of)
    admit = _write_method(ledger.admit)

    async def apply(
        self,
        posting: Posting,
        now: datetime,
        records_of: Callable[[Applied | PostingRefused], RecordsT],
        ceiling: Ceiling | None = None,
    ) -> RecordsT:
        """Apply a posting once, together with those of the same batch."""
        return await self.write(PostOne(PostingRequest(posting, now, records_of, ceiling)))

    async def record_outcome(
        self,
        posting: Posting,
        outcome: Applied | PostingRefused,
        records_of: Callable[[Applied | PostingRefused], RecordsT],
        now: datetime,
        *,
        limited: bool = False,
    ) -> RecordsT:
        """Store the operator's wallet's outcome of a posting."""
        return await self.write(
            lambda db: ledger.record_outcome(db, posting, outcome, records_of, now, limited=limited)
        )

    async def discrepancies(self) -> Sequence[Discrepancy]:
        """What an audit of the books finds, on a separate thread and connection: other reads do not wait for it."""
        self._open_parts()
        auditor = reader_thread(self._path, self._busy_seconds)
        await auditor.start()
        try:
            return (await auditor.run(audit)).discrepancies
        finally:
            await auditor.close()

    record_exchange = _write_method(callbacks.record_exchange)
    exchanges = _read_method(journal.exchanges)
    exchange = _read_method(journal.exchange)
    refused_callbacks = _read_method(journal.refused_callbacks)
    trim_bodies = _write_method(journal.trim_bodies)

    items = _read_method(reconciliation.items)
    find_item = _read_method(reconciliation.find_item)
    open_item_counts = _read_method(reconciliation.open_item_counts)
    resolve_item = _write_method(reconciliation.resolve_item)

    change_provider_state = _write_method(switches.change_provider_state)
    current_provider_states = _read_method(switches.current_provider_states)
    provider_state_changes = _read_method(switches.provider_state_changes)

    async def write(self, operation: Operation[T]) -> T:
        """Execute one operation in a transaction that is committed when this returns."""
        return await in_span("store commit", self._open_parts().writer.run(operation), _COMMIT)

    async def read(self, operation: Operation[T]) -> T:
        """Execute one operation in a snapshot of what is committed."""
        return await self._open_parts().reader.run(operation)

    def _open_parts(self) -> _Connected:
        if self._connected is None:
            raise StoreUnavailable(f"database {self._path} is not open: nothing is read or written")
        return self._connected
