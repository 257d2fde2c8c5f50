"""The interface of every engine. Each method is one transaction: durable when it returns, or it changed nothing.

Any method raises StoreUnavailable where the database is down, locked or full.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol, TypeVar

import msgspec

from gateway.store.ceilings import Ceiling
from gateway.store.models import (
    THE_GATEWAY,
    AccountOpened,
    Actor,
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
    Page,
    Posting,
    PostingRefused,
    ProviderState,
    ProviderStateChange,
    Target,
    WalletKind,
)
from gateway.store.reconciliation import ItemFilter, OpenItemCount, ReconciliationItem


class StoreUnavailable(Exception):
    """The database failed. Whether a write happened is unknown unless `unchanged`."""

    def __init__(self, message: str, *, unchanged: bool = True) -> None:
        super().__init__(message)
        self.unchanged = unchanged


class ContentDiffers(Exception):
    """A key is stored with other content. `field` names the first field that differs. Nothing was changed."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class EventUnknown(Exception):
    """No event has this id."""


class PageTokenUnknown(ValueError):
    """A page token that this store did not give."""


class AlreadyResolved(Exception):
    """The item was resolved before; `item` has the resolution. Nothing was changed."""

    def __init__(self, item: ReconciliationItem) -> None:
        super().__init__(item.id)
        self.item = item


class PostingRecords(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a posting, and what is stored with it in its transaction."""

    outcome: Applied | PostingRefused
    exchange: Exchange | None
    event: Event | None = None
    item: ReconciliationItem | None = None


RecordsT = TypeVar("RecordsT", bound=PostingRecords)


class CloseStore(Protocol):
    """Requests to end sessions, their attempts and outcomes."""

    async def begin_close(
        self, request_id: str, target: Target, now: datetime, actor: Actor = THE_GATEWAY
    ) -> CloseRecord:
        """Store the intent and count one attempt, unless the target is settled: then only return the record.

        `actor` is stored with the intent, and not compared: where the request is known its first actor stays.

        The record's `attempts` is the number of the attempt begun; its `certainty` is that of the attempts before it
        (None where there was none). Raises ContentDiffers where the request_id has another target.
        """
        ...

    async def find_close(self, request_id: str) -> CloseRecord | None: ...

    async def settle_close(
        self, request_id: str, settled: CloseSuccess, exchange: Exchange, event: Event | None
    ) -> None:
        """Store a success with its journal line and its event. A target settled before stays as it was.

        An open CLOSE_UNKNOWN item of the request is resolved as 'closed'.
        """
        ...

    async def fail_close(
        self, request_id: str, failed: CloseFailure, exchange: Exchange | None, item: ReconciliationItem | None = None
    ) -> None:
        """Conclude the attempt in progress as failed, with its journal line where there was an exchange.

        `item` is stored, unless it is known, where the outcome is unknown. Where no attempt of the request is UNKNOWN
        any more, an open CLOSE_UNKNOWN item of it is resolved as 'concluded'.
        """
        ...

    async def report_abandoned(self, older_than: timedelta, now: datetime) -> int:
        """Store a CLOSE_UNKNOWN item for each attempt that has been in progress for longer, and has none.

        A crash cut such an attempt off. Its age is by one clock for all gateways: the database server's, where it has
        one. Returns how many items are new.
        """
        ...


class Events(Protocol):
    """Events for subscribers, in one order."""

    async def record_expiry(self, event: Event, provider_id: str, exchange: Exchange) -> bool:
        """Store an expiry with its journal line; True where (provider, provider_id, session_id, user_id) is new.

        A repeated one adds its journal line, and no second event.
        """
        ...

    async def events_after(self, after_event_id: str, wanted: EventFilter, limit: int) -> Sequence[Event]:
        """The next events in order, from the oldest where the id is ''. Raises EventUnknown."""
        ...

    async def next_events(self, after_event_id: str, wanted: EventFilter, limit: int) -> EventBatch:
        """As `events_after`, but it scans a bounded part of what follows, however rare the wanted ones are.

        Raises EventUnknown.
        """
        ...

    async def newest_event_id(self) -> str:
        """The id of the newest event, '' where there is none: where a subscriber that matched nothing continues."""
        ...

    async def events_committed(self, seen: int) -> int:
        """Wait until more than `seen` commits have added events, and return how many have. Start with -1."""
        ...


class Ledger(Protocol):
    """The built-in ledger's accounts and postings."""

    async def open_account(
        self, user_id: str, currency: str, opening: Decimal, now: datetime, line: Exchange | None = None
    ) -> AccountOpened:
        """Open an account, or answer again as the first time. Raises ContentDiffers('opening_balance').

        `line` is stored in the same transaction, where this call opens the account.
        """
        ...

    async def balance(self, user_id: str, currency: str) -> Balance | PostingRefused: ...

    async def apply(
        self,
        posting: Posting,
        now: datetime,
        records_of: Callable[[Applied | PostingRefused], RecordsT],
        ceiling: Ceiling | None = None,
    ) -> RecordsT:
        """Apply a posting once, and store the records that `records_of` makes of its outcome in the same transaction.

        `records_of` is a pure function and fast: it may run on another thread, and again where a transaction is
        retried. What it made inside the committed transaction is returned.
        The event is stored only with a posting that is applied for the first time, or with a reconciliation item that
        is new. A posting that is applied resolves its open items. One above the `ceiling` is refused, unless it is
        applied already; where the ceiling has a limit by hour, what is credited is counted.
        """
        ...

    async def admit(self, posting: Posting, ceiling: Ceiling, now: datetime) -> PostingRefused | None:
        """Count a posting before the operator's wallet is asked, or refuse it where it is above the ceiling.

        What the wallet is known to have credited passes, and what was asked before with the same amount is counted
        once. `record_outcome` with `limited` follows.
        """
        ...

    async def record_outcome(
        self,
        posting: Posting,
        outcome: Applied | PostingRefused,
        records_of: Callable[[Applied | PostingRefused], RecordsT],
        now: datetime,
        *,
        limited: bool = False,
    ) -> RecordsT:
        """Store the operator's wallet's outcome of a posting: its credit and its records, in one transaction.

        `records_of` is called and its value returned as in `apply`. It is called with the wallet's outcome, unless that
        is a credit which contradicts the stored one (see gateway.store.posting.resolve_repeated_credit).

        The credit is stored once, by (provider, reference), with the wallet's transaction id; the event only with a new
        credit or a new item. A credit resolves the posting's open items. Accounts of the built-in ledger do not change.
        `limited` says that the posting was admitted under a ceiling by hour: what was not credited no longer counts.
        """
        ...

    async def credit(self, provider: str, reference: str) -> Credit | None:
        """The transaction of a reference, in the built-in ledger or in the operator's wallet."""
        ...

    async def credits_of(self, user_id: str, *, page_token: str = "", limit: int = 100) -> Page[Credit]:
        """A player's transactions, newest first. Raises PageTokenUnknown."""
        ...

    async def discrepancies(self) -> Sequence[Discrepancy]:
        """The discrepancies between each account's cash, its opening and its transactions, and between each Result's
        transaction and its one event. May take minutes on a large store; nothing waits for it.
        """
        ...


class Journal(Protocol):
    """Every exchange, either direction."""

    async def record_exchange(
        self, exchange: Exchange, item: ReconciliationItem | None = None, event: Event | None = None
    ) -> None:
        """Store the journal line of a callback that changed nothing, with an item and its event, if any.

        A known item is not stored twice, nor a RESULT_UNKNOWN item where the operator's wallet is known to have
        credited the Result. The event is stored only with a new item.
        """
        ...

    async def exchanges(self, *, request_id: str = "", provider: str = "", limit: int = 100) -> Sequence[Exchange]:
        """Lines of the journal, oldest first."""
        ...

    async def exchange(self, id: str) -> Exchange | None:
        """A line of the journal."""
        ...

    async def refused_callbacks(self, *, provider: str = "", page_token: str = "", limit: int = 100) -> Page[Exchange]:
        """Callbacks that were neither ACCEPTED nor CREDITED, newest first. Raises PageTokenUnknown."""
        ...

    async def trim_bodies(self, ended_before: datetime, limit: int) -> int:
        """Remove heads and bodies from up to `limit` lines that ended before that time. Returns how many.

        Lines of open items keep theirs: an operator needs them. The other fields of a line never change.
        """
        ...


class Items(Protocol):
    """Reconciliation items, and their resolutions."""

    async def items(self, wanted: ItemFilter, *, page_token: str = "", limit: int = 100) -> Page[ReconciliationItem]:
        """Items, oldest first. Raises PageTokenUnknown."""
        ...

    async def find_item(self, id: str) -> ReconciliationItem | None: ...

    async def open_item_counts(self) -> Sequence[OpenItemCount]:
        """The open items by provider and kind. Its cost grows with the open items, not with those that are resolved."""
        ...

    async def resolve_item(self, id: str, actor: Actor, reason: str, now: datetime) -> ReconciliationItem:
        """Resolve an open item. Raises LookupError where there is none of this id, and AlreadyResolved.

        What an operator has resolved stays so, also when the same is refused again.
        """
        ...


class ProviderSwitchStore(Protocol):
    """Changes of providers' states: disabled and enabled, by which operator."""

    async def change_provider_state(
        self, provider: str, to: ProviderState, actor: Actor, reason: str, now: datetime
    ) -> tuple[ProviderStateChange | None, bool]:
        """Change a provider's state, with a line in the journal: the newest change, and whether this call made it.

        Where the provider has that state already nothing is stored; None where it was never changed.
        """
        ...

    async def current_provider_states(self) -> Sequence[ProviderStateChange]:
        """The newest change of each provider that has any."""
        ...

    async def provider_state_changes(
        self, *, provider: str = "", page_token: str = "", limit: int = 100
    ) -> Page[ProviderStateChange]:
        """Changes, newest first. Raises PageTokenUnknown."""
        ...


class Store(CloseStore, Events, Ledger, Journal, Items, ProviderSwitchStore, Protocol):
    """One database."""

    async def open(self) -> None:
        """Connect and migrate the schema to this release's. Of several gateways on one database one migrates, and the
        others wait. Raises StoreUnavailable.
        """
        ...

    async def ping(self) -> None:
        """Raise StoreUnavailable where the database cannot be written to."""
        ...

    async def remember_providers(self, names: frozenset[str]) -> None:
        """Store the names of the configured providers, permanently."""
        ...

    async def money_providers(self) -> frozenset[str]:
        """Remembered names that are part of a money key, here or in the operator's wallet: they must stay configured.

        A name that only came over gRPC, from another gateway, is not among them.
        """
        ...

    async def wallet_kinds(self) -> frozenset[WalletKind]:
        """The wallets that credited what is stored here: a wallet knows only its own references."""
        ...

    async def close(self) -> None: ...
