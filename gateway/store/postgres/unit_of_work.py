"""A transaction in progress, and the journal lines and events that it inserts in one statement each."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.store.models import Event, Exchange
from gateway.store.postgres import events, journal
from gateway.store.postgres.connection import Connection

T = TypeVar("T")


class UnitOfWork:
    """One transaction. Lines and events are collected, and inserted at its end."""

    def __init__(self, db: Connection) -> None:
        self.db = db
        self.lines: list[Exchange] = []
        self.events: list[Event] = []
        self.in_doubt = False
        """COMMIT was sent, and its answer has not arrived: whether the transaction was committed is unknown."""

    async def finish(self) -> None:
        """Insert what was collected."""
        if self.lines:
            await journal.insert(self.db, self.lines)
        if self.events:
            await events.insert(self.db, self.events)


Operation = Callable[[UnitOfWork], Awaitable[T]]
"""One caller's whole write. It raises a refusal (ContentDiffers, AlreadyResolved, a LookupError) before it writes or
collects anything; after any other error the operation is rolled back.
"""

Order = tuple[str, ...]
"""What an operation locks first, named the same by every gateway: the table, and the key of its rows there."""
