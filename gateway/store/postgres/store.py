"""The store on PostgreSQL, joined from its parts: each method hands one operation to the committer or to the reads."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
from gateway.store.postgres import callbacks, closures, events, items, journal, ledger, switches, transactions
from gateway.store.postgres.address import parse
from gateway.store.postgres.audit import find_discrepancies
from gateway.store.postgres.committer import Committer
from gateway.store.postgres.connection import (
    PATIENT,
    READING,
    TROUBLES,
    WRITING,
    Connection,
    close,
    connect,
    connect_committer,
    unavailable,
)
from gateway.store.postgres.migrations import migrate
from gateway.store.postgres.pool import Pool, Read
from gateway.store.postgres.sequencer import Sequencer
from gateway.store.postgres.unit_of_work import Operation, Order
from gateway.store.posting import PostingRequest

if TYPE_CHECKING:  # a store that nobody counts does without
    from gateway.telemetry.metrics import Metrics

T = TypeVar("T")

BESIDE_READS = 2
"""Connections that a store has beside those for reads: the committer's and the sequencer's."""

MIGRATING_S = 3600.0
"""Seconds that a migration, or the wait for another gateway's, may take."""

_PING = """
INSERT INTO pings (one, count) VALUES (1, 1) ON CONFLICT (one) DO UPDATE SET count = pings.count + 1
"""


@dataclass(frozen=True, slots=True)
class _Connected:
    """What an open store has."""

    committer: Committer
    pool: Pool
    sequencer: Sequencer
    event_commits: CommitNotifier


class PostgresStore:
    """One PostgreSQL database, which any number of processes may have open. It belongs to the event loop of `open`.

    `pool_size` is how many connections it holds at the most, 3 at least; a look for discrepancies takes one more.
    Raises ValueError for a url that names no database.
    """

    def __init__(self, url: str, pool_size: int = 8, metrics: "Metrics | None" = None) -> None:
        self._address = parse(url)
        self._metrics = metrics
        self._reads = max(1, pool_size - BESIDE_READS)
        self._connected: _Connected | None = None
        self._looking = asyncio.Lock()

    # --- The database -------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and bring the schema to this release's. Raises StoreUnavailable."""
        if self._connected is not None:
            raise RuntimeError(f"database {self._address} is open already")
        await self._migrate()
        commits = CommitNotifier()
        sequencer = Sequencer(self._connecting("sequencer", WRITING), commits)
        connect = partial(connect_committer, self._address)
        committer = Committer(self._address, connect, sequencer.written, self._metrics)
        await committer.start()
        try:
            await sequencer.start()
        except BaseException as error:
            await committer.close()
            if isinstance(error, TROUBLES):
                raise unavailable(self._address, error) from error
            raise
        pool = Pool(self._address, self._connecting("reads", READING), self._reads)
        self._connected = _Connected(committer, pool, sequencer, commits)

    async def _migrate(self) -> None:
        db = await connect(self._address, "migrations", PATIENT)
        try:
            async with asyncio.timeout(MIGRATING_S):
                await migrate(db, self._address)
        except TROUBLES as error:
            raise unavailable(self._address, error) from error
        finally:
            await close(db)

    def _connecting(self, purpose: str, settings: Mapping[str, str]) -> Callable[[], Awaitable[Connection]]:
        return partial(connect, self._address, purpose, settings)

    async def close(self) -> None:
        """Finish what is queued, and disconnect. Whoever waits for events gets StoreUnavailable."""
        if self._connected is None:
            return
        connected, self._connected = self._connected, None
        await connected.pool.close()
        await connected.committer.close()
        await connected.sequencer.stop()
        connected.event_commits.close()

    async def ping(self) -> None:
        """Write, and commit. Raises StoreUnavailable.

        Not among the writes that are committed together: all gateways write this one row, and none waits for another's
        batch to do so.
        """
        await self._read(lambda db: db.execute(_PING))

    async def remember_providers(self, names: frozenset[str]) -> None:
        await self._write(lambda writing: ledger.remember_providers(writing, names))

    async def money_providers(self) -> frozenset[str]:
        return await self._read(ledger.money_providers)

    async def wallet_kinds(self) -> frozenset[WalletKind]:
        return await self._read(ledger.creditors)

    # --- Closures -----------------------------------------------------------------------------------------------------

    async def begin_close(self, request_id: str, target: Target, now: datetime) -> CloseRecord:
        return await self._write(closures.BeginClose(request_id, target, now), _close(request_id))

    async def find_close(self, request_id: str) -> CloseRecord | None:
        return await self._read(lambda db: closures.find_close(db, request_id))

    async def settle_close(
        self, request_id: str, settled: CloseSuccess, exchange: Exchange, event: Event | None
    ) -> None:
        await self._write(closures.SettleClose(request_id, settled, exchange, event), _close(request_id))

    async def fail_close(
        self, request_id: str, failed: CloseFailure, exchange: Exchange | None, item: ReconciliationItem | None = None
    ) -> None:
        await self._write(closures.FailClose(request_id, failed, exchange, item), _close(request_id))

    async def report_abandoned(self, begun_before: datetime, now: datetime) -> int:
        return await self._write(lambda writing: closures.report_abandoned(writing, begun_before, now))

    # --- Events -------------------------------------------------------------------------------------------------------

    async def record_expiry(self, event: Event, provider_id: str, exchange: Exchange) -> bool:
        return await self._write(
            lambda writing: callbacks.record_expiry(writing, event, provider_id, exchange),
            ("expiries", event.provider, provider_id, event.session_id, event.user_id),
        )

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
        return await self._write(
            lambda writing: ledger.open_account(writing, user_id, currency, opening, now),
            ("accounts", user_id, currency),
        )

    async def balance(self, user_id: str, currency: str) -> Balance | PostingRefused:
        return await self._read(lambda db: ledger.balance(db, user_id, currency))

    async def apply(
        self, posting: Posting, now: datetime, records_of: Callable[[Applied | PostingRefused], RecordsT]
    ) -> RecordsT:
        return await self._open_parts().committer.post(PostingRequest(posting, now, records_of))

    async def record_outcome(
        self,
        posting: Posting,
        outcome: Applied | PostingRefused,
        records_of: Callable[[Applied | PostingRefused], RecordsT],
        now: datetime,
    ) -> RecordsT:
        refused = (outcome.fault, outcome.field) if isinstance(outcome, PostingRefused) else ("", "")
        return await self._write(
            lambda writing: ledger.record_outcome(writing, posting, outcome, records_of, now),
            _result(posting.provider, posting.reference, posting.user_id, *refused),
        )

    async def credit(self, provider: str, reference: str) -> Credit | None:
        return await self._read(lambda db: transactions.find(db, provider, reference))

    async def credits_of(self, user_id: str, *, page_token: str = "", limit: int = 100) -> Page[Credit]:
        return await self._read(lambda db: transactions.of_user(db, user_id, page_token, limit))

    async def discrepancies(self) -> Sequence[Discrepancy]:
        self._open_parts()
        async with self._looking:
            db = await connect(self._address, "discrepancies", PATIENT)
            try:
                return await find_discrepancies(db)
            except TROUBLES as error:
                raise unavailable(self._address, error) from error
            finally:
                await close(db)

    # --- Journal ------------------------------------------------------------------------------------------------------

    async def record_exchange(
        self, exchange: Exchange, item: ReconciliationItem | None = None, event: Event | None = None
    ) -> None:
        await self._write(
            lambda writing: callbacks.record_exchange(writing, exchange, item, event),
            _result(item.provider, item.reference, item.user_id, item.fault, item.field) if item is not None else (),
        )

    async def exchanges(self, *, request_id: str = "", provider: str = "", limit: int = 100) -> Sequence[Exchange]:
        return await self._read(lambda db: journal.exchanges(db, request_id, provider, limit))

    async def exchange(self, id: str) -> Exchange | None:
        return await self._read(lambda db: journal.find(db, id))

    async def refused_callbacks(self, *, provider: str = "", page_token: str = "", limit: int = 100) -> Page[Exchange]:
        return await self._read(lambda db: journal.refused_callbacks(db, provider, page_token, limit))

    async def trim_bodies(self, ended_before: datetime, limit: int) -> int:
        """Beside the writes that are committed together, which do not wait for it."""
        return await self._read(lambda db: journal.trim_bodies(db, ended_before, limit))

    # --- Items --------------------------------------------------------------------------------------------------------

    async def items(self, wanted: ItemFilter, *, page_token: str = "", limit: int = 100) -> Page[ReconciliationItem]:
        return await self._read(lambda db: items.items(db, wanted, page_token, limit))

    async def find_item(self, id: str) -> ReconciliationItem | None:
        return await self._read(lambda db: items.find(db, id))

    async def resolve_item(self, id: str, by: str, why: str, now: datetime) -> ReconciliationItem:
        return await self._write(lambda writing: items.resolve(writing.db, id, by, why, now), ("items", id))

    # --- Switches -----------------------------------------------------------------------------------------------------

    async def change_provider_state(
        self, provider: str, to: ProviderState, by: str, why: str, now: datetime
    ) -> tuple[ProviderStateChange | None, bool]:
        return await self._write(
            lambda writing: switches.switch(writing, provider, to, by, why, now), ("provider_switches", provider)
        )

    async def current_provider_states(self) -> Sequence[ProviderStateChange]:
        return await self._read(switches.standing)

    async def provider_state_changes(
        self, *, provider: str = "", page_token: str = "", limit: int = 100
    ) -> Page[ProviderStateChange]:
        return await self._read(lambda db: switches.switches(db, provider, page_token, limit))

    # ------------------------------------------------------------------------------------------------------------------

    async def _write(self, operation: Operation[T], order: Order = ()) -> T:
        return await self._open_parts().committer.run(operation, order)

    async def _read(self, read: Read[T]) -> T:
        return await self._open_parts().pool.run(read)

    def _open_parts(self) -> _Connected:
        if self._connected is None:
            raise StoreUnavailable(f"database {self._address} is not open: nothing is read or written")
        return self._connected


def _close(request_id: str) -> Order:
    """Where a close is among the writes that are committed together."""
    return ("closures", request_id)


def _result(provider: str, reference: str, *item: str) -> Order:
    """Where a Result that another wallet credits, or that was refused, is among them: by its credit and by its item."""
    return ("results", provider, reference, *item)
