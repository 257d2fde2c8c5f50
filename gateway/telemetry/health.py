"""What a gateway's metrics are given: the series to expect, and its state at a scrape."""

import msgspec


class ExpectedSeries(msgspec.Struct, frozen=True):
    """The label values that the counters of a provider can have, so that their series exist from 0."""

    provider: str
    """'' for calls that name no configured provider: these have no attempts and no callbacks."""
    calls: tuple[tuple[str, str, str], ...]
    """Operation, outcome, certainty."""
    attempts: tuple[tuple[str, str], ...] = ()
    """Outcome, certainty."""
    callbacks: tuple[tuple[str, str], ...] = ()
    """Path, answer."""


class OpenItems(msgspec.Struct, frozen=True):
    """The open reconciliation items of one provider and kind, as the store had them when it was last read."""

    provider: str
    kind: str
    count: int
    oldest_age_s: float


class Health(msgspec.Struct, frozen=True):
    """The state of a gateway at the moment of a scrape."""

    ready: bool
    """As /readyz says, when it was last checked."""
    store_available: bool
    """Whether the store could be written to and read when that was last tried."""
    open_items: tuple[OpenItems, ...] = ()
    disk: tuple[int, int] | None = None
    """Free bytes and size of the file system of a SQLite store; None for PostgreSQL, or where it is not known."""


class ReloadStatus(msgspec.Struct, frozen=True):
    """What became of the last reload; without one, of the start."""

    succeeded: bool
    succeeded_at: float
    """The Unix time of the last one that succeeded."""
