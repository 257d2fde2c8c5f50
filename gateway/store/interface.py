"""What every engine offers. Each method is one transaction: durable when it returns, or it changed nothing.

Any method raises StoreUnavailable where the database is down, locked or full. Values come in and go out typed; SQL
stays behind this interface.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from gateway.store.records import (
    AccountOpened,
    Applied,
    Balance,
    CloseRecord,
    Event,
    EventFilter,
    Exchange,
    Failed,
    Posting,
    PostingRefused,
    ReconciliationItem,
    Settled,
    Target,
)


class StoreUnavailable(Exception):
    """The database did not take or give the data. Whether a write happened is unknown unless `unchanged`."""

    def __init__(self, message: str, *, unchanged: bool = True) -> None:
        super().__init__(message)
        self.unchanged = unchanged


class ContentDiffers(Exception):
    """A key is known with other content. `field` names the first field that differs. Nothing was changed."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class EventUnknown(Exception):
    """No event of this id is kept."""


@dataclass(frozen=True, slots=True)
class Narrative:
    """What is kept beside a posting, in its transaction."""

    exchange: Exchange | None
    event: Event | None = None
    item: ReconciliationItem | None = None


class Closures(Protocol):
    """Requests to end sessions, their attempts and outcomes."""

    async def begin_close(self, request_id: str, target: Target, now: datetime) -> CloseRecord:
        """Make the intent durable and count one attempt, unless the target is settled: then only answer the record.

        The record's `attempts` is the number of the attempt begun; its `certainty` is that of the attempts before it
        (None where there was none). Raises ContentDiffers where the request_id stands for another target.
        """
        ...

    async def find_close(self, request_id: str) -> CloseRecord | None: ...

    async def settle_close(self, request_id: str, settled: Settled, exchange: Exchange, event: Event | None) -> None:
        """Keep a success with its journal line and its event. A target settled before stays as it was."""
        ...

    async def fail_close(self, request_id: str, failed: Failed, exchange: Exchange | None) -> None:
        """Conclude the attempt under way as failed, with its journal line where there was an exchange."""
        ...


class Events(Protocol):
    """What subscribers are told, in one order."""

    async def record_expiry(self, event: Event, provider_id: str, exchange: Exchange) -> bool:
        """Keep an expiry with its journal line; True where (provider, provider_id, session_id, user_id) is new.

        Said again it keeps the journal line, and no second event.
        """
        ...

    async def events_after(self, after_event_id: str, wanted: EventFilter, limit: int) -> Sequence[Event]:
        """The next events in order, from the oldest kept where the id is ''. Raises EventUnknown."""
        ...

    async def newest_event_id(self) -> str:
        """The id of the newest event, '' where there is none: where a subscriber that matched nothing goes on from."""
        ...

    async def events_committed(self, seen: int) -> int:
        """Wait until more than `seen` commits have added events, and answer how many have. Start with -1."""
        ...


class Ledger(Protocol):
    """The built-in ledger's accounts and postings."""

    async def open_account(self, user_id: str, currency: str, opening: Decimal, now: datetime) -> AccountOpened:
        """Open an account, or answer again as the first time. Raises ContentDiffers('opening_balance')."""
        ...

    async def balance(self, user_id: str, currency: str) -> Balance | PostingRefused: ...

    async def apply(
        self, posting: Posting, now: datetime, narrate: Callable[[Applied | PostingRefused], Narrative]
    ) -> Applied | PostingRefused:
        """Apply a posting once, and keep what `narrate` says of it, in the same transaction.

        `narrate` is pure and quick: it may run on another thread, and again where a transaction is tried again. Its
        event is kept only where something happened: a posting applied for the first time, or a reconciliation item
        that is new. An item that the posting settles (it was refused before and is applied now) is resolved.
        """
        ...


class Journal(Protocol):
    """Every exchange, either direction."""

    async def record_exchange(
        self, exchange: Exchange, item: ReconciliationItem | None = None, event: Event | None = None
    ) -> None:
        """Keep a callback that came to nothing, with the item that a person must look at and its event, if any.

        A known item is not kept twice, and its event only with a new item.
        """
        ...

    async def exchanges(self, *, request_id: str = "", provider: str = "", limit: int = 100) -> Sequence[Exchange]:
        """Lines of the journal, oldest first."""
        ...

    async def open_items(self) -> Sequence[ReconciliationItem]:
        """Reconciliation items that nobody has resolved, oldest first."""
        ...


class Store(Closures, Events, Ledger, Journal, Protocol):
    """One database."""

    async def open(self) -> None:
        """Connect and bring the schema to this release's. Raises StoreUnavailable."""
        ...

    async def ping(self) -> None:
        """Raise StoreUnavailable where the database cannot be written to."""
        ...

    async def remember_providers(self, names: frozenset[str]) -> None:
        """Keep the names of the configured providers, for good."""
        ...

    async def money_providers(self) -> frozenset[str]:
        """Remembered names that are part of a money key: providers that must never be forgotten.

        A name that only came over gRPC, from a gateway elsewhere, is not among them.
        """
        ...

    async def close(self) -> None: ...
