"""A transaction under way, and what is kept with it in one statement each: journal lines and events."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.store.models import Event, Exchange
from gateway.store.postgres import events, journal
from gateway.store.postgres.connection import Connection

T = TypeVar("T")


class UnitOfWork:
    """One transaction. Lines and events are gathered, and written at its end."""

    def __init__(self, db: Connection) -> None:
        self.db = db
        self.lines: list[Exchange] = []
        self.events: list[Event] = []
        self.in_doubt = False
        """COMMIT was sent, and its answer has not come: whether the transaction stands is unknown."""

    async def finish(self) -> None:
        """Write what was gathered."""
        if self.lines:
            await journal.keep(self.db, self.lines)
        if self.events:
            await events.keep(self.db, self.events)


Operation = Callable[[UnitOfWork], Awaitable[T]]
"""One caller's whole write. A refusal (ContentDiffers, AlreadyResolved, a LookupError) comes before anything is written
or gathered; after any other error nothing of the operation stands.
"""

Order = tuple[str, ...]
"""What an operation locks first, named the same by every gateway: the table, and the key of its rows there."""
