"""Group commit: operations that arrive during a commit are committed together, and return after the commit.

One fsync serves the whole batch. Its postings are executed together, before the other operations. Each operation sees
what the earlier ones wrote, so that duplicates inside one batch are found. One that raises fails alone: where the batch
cannot be executed as a whole it is executed again, with each operation in a separate savepoint.
"""

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from gateway.store.batching import CommitMetrics, Done, Outcome, Raised
from gateway.store.sqlite import events
from gateway.store.sqlite.connection import connect_writer, is_outage, primary_code, unavailable
from gateway.store.sqlite.postings import PostOne, post_batch
from gateway.store.sqlite.thread import ConnectionThread, Operation

ENGINE = "sqlite"
"""In the metrics."""


def writer_thread(
    path: str, busy_seconds: float, *, on_events: Callable[[], None], metrics: CommitMetrics | None = None
) -> ConnectionThread:
    """The thread that writes. It calls `on_events` after a commit that added events, and `metrics` after each."""
    return ConnectionThread(
        "store-writer",
        partial(connect_writer, path, busy_seconds),
        partial(commit_batch, path=path, on_events=on_events, metrics=metrics),
    )


def commit_batch(
    db: sqlite3.Connection,
    operations: Sequence[Operation[Any]],
    *,
    path: str,
    on_events: Callable[[], None],
    metrics: CommitMetrics | None = None,
) -> Sequence[Outcome[Any]]:
    """Execute the operations in one transaction. Where that cannot be committed, no operation changed anything."""
    begun = monotonic()
    try:
        outcomes, has_events = _transact(db, operations, path)
    except sqlite3.Error as error:
        rolled_back = _roll_back(db)
        _count_failure(metrics)
        return [Raised(unavailable(path, error, unchanged=rolled_back)) for _ in operations]
    except BaseException:
        _roll_back(db)
        raise
    try:
        db.execute("COMMIT")
    except sqlite3.Error as error:
        # A commit that fails halfway may have reached the disk, and may be there after a crash; only where the lock was
        # not acquired was it certainly not begun.
        unchanged = _roll_back(db) and primary_code(error) == sqlite3.SQLITE_BUSY
        _count_failure(metrics)
        return [Raised(unavailable(path, error, unchanged=unchanged)) for _ in operations]
    if metrics is not None:
        metrics.commit(ENGINE, len(operations), monotonic() - begun)
    if has_events:
        on_events()
    return outcomes


def _transact(
    db: sqlite3.Connection, operations: Sequence[Operation[Any]], path: str
) -> tuple[Sequence[Outcome[Any]], bool]:
    """The outcomes of the operations, and whether events were added. Raises sqlite3.Error where the database fails."""
    db.execute("BEGIN IMMEDIATE")
    before = events.newest_position(db)
    try:
        outcomes = _run_batch(db, operations)
    except Exception as error:
        if not db.in_transaction and isinstance(error, sqlite3.Error) and is_outage(error):
            raise  # SQLite rolled it back itself (disk full, I/O error): none of them can be executed
        # The new transaction sees nothing of the first execution.
        if db.in_transaction:
            db.execute("ROLLBACK")
        db.execute("BEGIN IMMEDIATE")
        outcomes = [_run_in_savepoint(db, operation, path) for operation in operations]
    return outcomes, events.newest_position(db) > before


def _run_batch(db: sqlite3.Connection, operations: Sequence[Operation[Any]]) -> Sequence[Outcome[Any]]:
    """Execute them without savepoints: SQLite copies each page that is changed in one.

    Raises what an operation raises that had changed something by then: the whole batch must be rolled back.
    """
    postings = [operation.request for operation in operations if isinstance(operation, PostOne)]
    posted = iter(post_batch(db, postings) if postings else ())
    outcomes: list[Outcome[Any]] = []
    for operation in operations:
        if isinstance(operation, PostOne):
            each = next(posted)
            outcomes.append(Raised(each) if isinstance(each, Exception) else Done(each))
            continue
        changes = db.total_changes
        try:
            outcomes.append(Done(operation(db)))
        except Exception as error:
            if db.total_changes != changes or not db.in_transaction or isinstance(error, sqlite3.Error):
                raise
            outcomes.append(Raised(error))
    return outcomes


def _run_in_savepoint(db: sqlite3.Connection, operation: Operation[Any], path: str) -> Outcome[Any]:
    """Execute one in a savepoint, so that it fails alone."""
    db.execute("SAVEPOINT operation")
    try:
        value = operation(db)
    except Exception as error:
        if not db.in_transaction:
            raise  # SQLite rolled the whole transaction back (disk full, I/O error): the neighbours failed too
        db.execute("ROLLBACK TO operation")
        db.execute("RELEASE operation")
        return Raised(unavailable(path, error) if isinstance(error, sqlite3.Error) and is_outage(error) else error)
    db.execute("RELEASE operation")
    return Done(value)


def _count_failure(metrics: CommitMetrics | None) -> None:
    if metrics is not None:
        metrics.commit_failed(ENGINE)


def _roll_back(db: sqlite3.Connection) -> bool:
    """Roll the transaction back; False where it may still be open."""
    try:
        if db.in_transaction:
            db.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return not db.in_transaction
