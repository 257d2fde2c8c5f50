"""Group commit: what arrived while a commit was under way is committed together, and answered after the commit.

One fsync serves the whole batch. Its postings are carried out together, before the other operations. All see what the
earlier ones did (so duplicates inside one batch are judged as any others), and one that raises falls alone: where the
batch cannot be carried out as it is, it is begun anew, each operation under a savepoint of its own.
"""

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from gateway.store.sqlite import events
from gateway.store.sqlite.connection import connect_writer, is_outage, primary_code, unavailable
from gateway.store.sqlite.postings import PostOne, post_together
from gateway.store.sqlite.thread import ConnectionThread, Done, Operation, Outcome, Raised

if TYPE_CHECKING:  # a store that nobody counts does without
    from gateway.telemetry.metrics import Metrics

ENGINE = "sqlite"
"""In the metrics."""


def writer_thread(
    path: str, busy_seconds: float, *, told: Callable[[], None], metrics: "Metrics | None" = None
) -> ConnectionThread:
    """The thread that writes. `told` is called on it after a commit that kept events; `metrics` are told of each."""
    return ConnectionThread(
        "store-writer",
        partial(connect_writer, path, busy_seconds),
        partial(commit_together, path=path, told=told, metrics=metrics),
    )


def commit_together(
    db: sqlite3.Connection,
    operations: Sequence[Operation[Any]],
    *,
    path: str,
    told: Callable[[], None],
    metrics: "Metrics | None" = None,
) -> Sequence[Outcome[Any]]:
    """Carry out the operations in one transaction. Where that cannot be committed, no operation did anything."""
    begun = monotonic()
    try:
        outcomes, events_kept = _transact(db, operations, path)
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
        # A commit that fails halfway may have reached the disk, and may come back after a crash; only a lock that was
        # not got says for sure that it was not tried.
        unchanged = _roll_back(db) and primary_code(error) == sqlite3.SQLITE_BUSY
        _count_failure(metrics)
        return [Raised(unavailable(path, error, unchanged=unchanged)) for _ in operations]
    if metrics is not None:
        metrics.commit(ENGINE, len(operations), monotonic() - begun)
    if events_kept:
        told()
    return outcomes


def _transact(
    db: sqlite3.Connection, operations: Sequence[Operation[Any]], path: str
) -> tuple[Sequence[Outcome[Any]], bool]:
    """What came of the operations, and whether events were kept. Raises sqlite3.Error where the database fails."""
    db.execute("BEGIN IMMEDIATE")
    before = events.newest_position(db)
    try:
        outcomes = _run_batch(db, operations)
    except Exception as error:
        if not db.in_transaction and isinstance(error, sqlite3.Error) and is_outage(error):
            raise  # SQLite rolled it back itself (disk full, I/O error): none of them can be carried out
        # Nothing of them is left: the transaction is a new one.
        if db.in_transaction:
            db.execute("ROLLBACK")
        db.execute("BEGIN IMMEDIATE")
        outcomes = [_run_in_savepoint(db, operation, path) for operation in operations]
    return outcomes, events.newest_position(db) > before


def _run_batch(db: sqlite3.Connection, operations: Sequence[Operation[Any]]) -> Sequence[Outcome[Any]]:
    """Carry them out without savepoints: SQLite copies each page that is changed under one.

    Raises what an operation raises that had changed something by then: its neighbours cannot stay as they are.
    """
    postings = [operation.request for operation in operations if isinstance(operation, PostOne)]
    posted = iter(post_together(db, postings) if postings else ())
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
    """Carry one out under a savepoint, so that it falls alone."""
    db.execute("SAVEPOINT operation")
    try:
        value = operation(db)
    except Exception as error:
        if not db.in_transaction:
            raise  # SQLite rolled the whole transaction back (disk full, I/O error): the neighbours fell too
        db.execute("ROLLBACK TO operation")
        db.execute("RELEASE operation")
        return Raised(unavailable(path, error) if isinstance(error, sqlite3.Error) and is_outage(error) else error)
    db.execute("RELEASE operation")
    return Done(value)


def _count_failure(metrics: "Metrics | None") -> None:
    if metrics is not None:
        metrics.commit_failed(ENGINE)


def _roll_back(db: sqlite3.Connection) -> bool:
    """Whether nothing is left of the transaction."""
    try:
        if db.in_transaction:
            db.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return not db.in_transaction
