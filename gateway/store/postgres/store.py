"""The store on PostgreSQL: each method runs one operation on the committer, or on a connection for reads."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from gateway.store.base import RecordsT, StoreUnavailable
from gateway.store.batching import CommitMetrics
from gateway.store.ceilings import Ceiling, window_of
from gateway.store.commit_notifier import CommitNotifier
from gateway.store.models import (
    THE_GATEWAY,
    AccountOpened,
    Actor,
    Applied,
    CloseFailure,
    CloseRecord,
    CloseSuccess,
    Discrepancy,
    Event,
    Exchange,
    Posting,
    PostingRefused,
    ProviderState,
    ProviderStateChange,
    Target,
)
from gateway.store.postgres import callbacks, closures, events, journal, ledger, switches, transactions
from gateway.store.postgres import items as reconciliation
from gateway.store.postgres.audit import find_discrepancies
from gateway.store.postgres.committer import Committer
from gateway.store.postgres.connection import (
    DRIVER_ERRORS,
    READING,
    UNBOUNDED,
    WRITING,
    Connection,
    close,
    connect,
    connect_committer,
    unavailable,
)
from gateway.store.postgres.inspect import refuse_unfit
from gateway.store.postgres.migrations import migrate_database
from gateway.store.postgres.pool import Pool, Read
from gateway.store.postgres.sequencer import Sequencer
from gateway.store.postgres.unit_of_work import Operation, Order, UnitOfWork
from gateway.store.postgres_url import ClientTlsFiles, parse
from gateway.store.posting import PostingRequest
from gateway.store.reconciliation import ReconciliationItem

P = ParamSpec("P")
T = TypeVar("T")

RESERVED_CONNECTIONS = 2
"""Connections of a store that are not for reads: the committer's and the sequencer's."""

_PING = """
INSERT INTO pings (one, count) VALUES (1, 1) ON CONFLICT (one) DO UPDATE SET count = pings.count + 1
"""


def _write_method(
    operation: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
) -> Callable[Concatenate["PostgresStore", P], Coroutine[Any, Any, T]]:
    """A method that runs the operation on the committer."""

    @wraps(operation)
    async def method(store: "PostgresStore", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await store.write(lambda work: operation(work, *args, **kwargs))

    return method


def _read_method(
    operation: Callable[Concatenate[Connection, P], Awaitable[T]],
) -> Callable[Concatenate["PostgresStore", P], Coroutine[Any, Any, T]]:
    """A method that runs the operation on a connection for reads."""

    @wraps(operation)
    async def method(store: "PostgresStore", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await store.read(lambda db: operation(db, *args, **kwargs))

    return method


async def _ping(db: Connection) -> None:
    await db.execute(_PING)


@dataclass(frozen=True, slots=True)
class _Connected:
    """The parts of an open store."""

    committer: Committer
    pool: Pool
    sequencer: Sequencer
    event_commits: CommitNotifier


class PostgresStore:
    """One PostgreSQL database, which any number of processes may have open. It belongs to the event loop of `open`.

    `pool_size` is its maximum number of connections, at least 3; `discrepancies` takes one more.
    Raises ValueError for a url that names no database, and for files that contradict it.
    """

    def __init__(
        self, url: str, pool_size: int = 8, metrics: CommitMetrics | None = None, tls: ClientTlsFiles | None = None
    ) -> None:
        self._address = parse(url).with_tls(tls)
        self._metrics = metrics
        self._reads = max(1, pool_size - RESERVED_CONNECTIONS)
        self._connected: _Connected | None = None
        self._auditing = asyncio.Lock()

    async def open(self) -> None:
        """Connect and bring the schema to this release's. Raises StoreUnavailable."""
        if self._connected is not None:
            raise RuntimeError(f"database {self._address} is open already")
        await migrate_database(self._address)
        await refuse_unfit(self._address)
        commits = CommitNotifier()
        sequencer = Sequencer(self._connector("sequencer", WRITING), commits)
        connect = partial(connect_committer, self._address)
        committer = Committer(self._address, connect, sequencer.notify, self._metrics)
        await committer.start()
        try:
            await sequencer.start()
        except BaseException as error:
            await committer.close()
            if isinstance(error, DRIVER_ERRORS):
                raise unavailable(self._address, error) from error
            raise
        pool = Pool(self._address, self._connector("reads", READING), self._reads)
        self._connected = _Connected(committer, pool, sequencer, commits)

    def _connector(self, purpose: str, settings: Mapping[str, str]) -> Callable[[], Awaitable[Connection]]:
        return partial(connect, self._address, purpose, settings)

    async def close(self) -> None:
        """Finish what is queued, and disconnect. Tasks that wait for events get StoreUnavailable."""
        if self._connected is None:
            return
        connected, self._connected = self._connected, None
        await connected.pool.close()
        await connected.committer.close()
        await connected.sequencer.stop()
        connected.event_commits.close()

    # Not among the writes that are committed together: all gateways update this one row, and none should wait for
    # another's batch to do so.
    ping = _read_method(_ping)
    remember_providers = _write_method(ledger.remember_providers)
    money_providers = _read_method(ledger.money_providers)
    wallet_kinds = _read_method(ledger.wallet_kinds)

    find_close = _read_method(closures.find_close)
    report_abandoned = _write_method(closures.report_abandoned)

    async def begin_close(
        self, request_id: str, target: Target, now: datetime, actor: Actor = THE_GATEWAY
    ) -> CloseRecord:
        return await self.write(closures.BeginClose(request_id, target, now, actor), _close(request_id))

    async def settle_close(
        self, request_id: str, settled: CloseSuccess, exchange: Exchange, event: Event | None
    ) -> None:
        await self.write(closures.SettleClose(request_id, settled, exchange, event), _close(request_id))

    async def fail_close(
        self, request_id: str, failed: CloseFailure, exchange: Exchange | None, item: ReconciliationItem | None = None
    ) -> None:
        await self.write(closures.FailClose(request_id, failed, exchange, item), _close(request_id))

    events_after = _read_method(events.events_after)
    next_events = _read_method(events.next_events)
    newest_event_id = _read_method(events.newest_event_id)

    async def record_expiry(self, event: Event, provider_id: str, exchange: Exchange) -> bool:
        return await self.write(
            lambda work: callbacks.record_expiry(work, event, provider_id, exchange),
            ("expiries", event.provider, provider_id, event.session_id, event.user_id),
        )

    async def events_committed(self, seen: int) -> int:
        return await self._open_parts().event_commits.wait_past(seen)

    balance = _read_method(ledger.balance)
    credit = _read_method(transactions.credit)
    credits_of = _read_method(transactions.credits_of)

    async def open_account(
        self, user_id: str, currency: str, opening: Decimal, now: datetime, line: Exchange | None = None
    ) -> AccountOpened:
        return await self.write(
            lambda work: ledger.open_account(work, user_id, currency, opening, now, line),
            ("accounts", user_id, currency),
        )

    async def apply(
        self,
        posting: Posting,
        now: datetime,
        records_of: Callable[[Applied | PostingRefused], RecordsT],
        ceiling: Ceiling | None = None,
    ) -> RecordsT:
        return await self._open_parts().committer.post(PostingRequest(posting, now, records_of, ceiling))

    async def admit(self, posting: Posting, ceiling: Ceiling, now: datetime) -> PostingRefused | None:
        return await self.write(
            lambda work: ledger.admit(work, posting, ceiling, now), ("ceilings", *window_of(posting), posting.reference)
        )

    async def record_outcome(
        self,
        posting: Posting,
        outcome: Applied | PostingRefused,
        records_of: Callable[[Applied | PostingRefused], RecordsT],
        now: datetime,
        *,
        limited: bool = False,
    ) -> RecordsT:
        refused = (outcome.fault, outcome.field) if isinstance(outcome, PostingRefused) else ("", "")
        return await self.write(
            lambda work: ledger.record_outcome(work, posting, outcome, records_of, now, limited=limited),
            _result(posting.provider, posting.reference, posting.user_id, *refused),
        )

    async def discrepancies(self) -> Sequence[Discrepancy]:
        self._open_parts()
        async with self._auditing:
            db = await connect(self._address, "discrepancies", UNBOUNDED)
            try:
                return await find_discrepancies(db)
            except DRIVER_ERRORS as error:
                raise unavailable(self._address, error) from error
            finally:
                await close(db)

    exchanges = _read_method(journal.exchanges)
    exchange = _read_method(journal.exchange)
    refused_callbacks = _read_method(journal.refused_callbacks)
    trim_bodies = _read_method(journal.trim_bodies)  # so that the committer does not wait for it

    async def record_exchange(
        self, exchange: Exchange, item: ReconciliationItem | None = None, event: Event | None = None
    ) -> None:
        await self.write(
            lambda work: callbacks.record_exchange(work, exchange, item, event),
            _result(item.provider, item.reference, item.user_id, item.fault, item.field) if item is not None else (),
        )

    items = _read_method(reconciliation.items)
    find_item = _read_method(reconciliation.find_item)
    open_item_counts = _read_method(reconciliation.open_item_counts)

    async def resolve_item(self, id: str, actor: Actor, reason: str, now: datetime) -> ReconciliationItem:
        return await self.write(
            lambda work: reconciliation.resolve_item(work.db, id, actor, reason, now), ("items", id)
        )

    current_provider_states = _read_method(switches.current_provider_states)
    provider_state_changes = _read_method(switches.provider_state_changes)

    async def change_provider_state(
        self, provider: str, to: ProviderState, actor: Actor, reason: str, now: datetime
    ) -> tuple[ProviderStateChange | None, bool]:
        return await self.write(
            lambda work: switches.change_provider_state(work, provider, to, actor, reason, now),
            ("provider_switches", provider),
        )

    async def write(self, operation: Operation[T], order: Order = ()) -> T:
        """Execute one operation in a transaction that is committed when this returns."""
        return await self._open_parts().committer.run(operation, order)

    async def read(self, read: Read[T]) -> T:
        """Execute one operation on a connection that is not the committer's, without a transaction."""
        return await self._open_parts().pool.run(read)

    def _open_parts(self) -> _Connected:
        if self._connected is None:
            raise StoreUnavailable(f"database {self._address} is not open: nothing is read or written")
        return self._connected


def _close(request_id: str) -> Order:
    """The place of a close among the writes of a batch."""
    return ("closures", request_id)


def _result(provider: str, reference: str, *item: str) -> Order:
    """The place of a Result that another wallet credits, or that is refused: by its credit and by its item."""
    return ("results", provider, reference, *item)
