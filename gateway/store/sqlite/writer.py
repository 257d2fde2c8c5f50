"""Group commit: what arrived while a commit was under way is committed together, and answered after the commit.

One fsync serves the whole batch. Its postings are carried out together; each other operation has its own savepoint.
All see what the earlier ones did (so duplicates inside one batch are judged as any others), and one that raises falls
alone: where postings cannot be carried out together, each has its own savepoint too.
"""

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gateway.store.sqlite import events
from gateway.store.sqlite.connection import connect_writer, is_outage, primary_code, unavailable
from gateway.store.sqlite.postings import PostOne, post_together
from gateway.store.sqlite.thread import ConnectionThread, Done, Operation, Outcome, Raised


def writer_thread(path: str, busy_seconds: float, *, told: Callable[[], None]) -> ConnectionThread:
    """The thread that writes. `told` is called on it after a commit that kept events."""
    return ConnectionThread(
        "store-writer",
        partial(connect_writer, path, busy_seconds),
        partial(commit_together, path=path, told=told),
    )


def commit_together(
    db: sqlite3.Connection, operations: Sequence[Operation[Any]], *, path: str, told: Callable[[], None]
) -> Sequence[Outcome[Any]]:
    """Carry out the operations in one transaction. Where that cannot be committed, no operation did anything."""
    try:
        outcomes, events_kept = _transact(db, operations, path)
    except sqlite3.Error as error:
        rolled_back = _roll_back(db)
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
        return [Raised(unavailable(path, error, unchanged=unchanged)) for _ in operations]
    if events_kept:
        told()
    return outcomes


def _transact(
    db: sqlite3.Connection, operations: Sequence[Operation[Any]], path: str
) -> tuple[Sequence[Outcome[Any]], bool]:
    postings = [operation for operation in operations if isinstance(operation, PostOne)]
    db.execute("BEGIN IMMEDIATE")
    # First, so that no savepoint is needed: SQLite copies each page that is changed under one.
    together = _post(db, postings) if postings else ([], False)
    if together is not None and len(postings) == len(operations):
        return together
    before = events.newest_position(db)
    if together is None:
        outcomes = [_attempt(db, operation, path) for operation in operations]
        return outcomes, events.newest_position(db) > before
    posted, events_kept = iter(together[0]), together[1]
    outcomes = [
        next(posted) if isinstance(operation, PostOne) else _attempt(db, operation, path) for operation in operations
    ]
    return outcomes, events_kept or events.newest_position(db) > before


def _post(db: sqlite3.Connection, postings: Sequence[PostOne]) -> tuple[Sequence[Outcome[Any]], bool] | None:
    """What came of the postings, and whether events were kept; None where they cannot be carried out together.

    Nothing of them is left then, and the transaction is a new one. Raises where the database is at fault.
    """
    try:
        posted, events_kept = post_together(db, [operation.request for operation in postings])
    except Exception as error:
        if isinstance(error, sqlite3.Error) and is_outage(error):
            raise
        if db.in_transaction:
            db.execute("ROLLBACK")
        db.execute("BEGIN IMMEDIATE")
        return None
    return [Raised(each) if isinstance(each, Exception) else Done(each) for each in posted], events_kept


def _attempt(db: sqlite3.Connection, operation: Operation[Any], path: str) -> Outcome[Any]:
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


def _roll_back(db: sqlite3.Connection) -> bool:
    """Whether nothing is left of the transaction."""
    try:
        if db.in_transaction:
            db.execute("ROLLBACK")
    except sqlite3.Error:
        return False
    return not db.in_transaction
