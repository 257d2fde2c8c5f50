"""Group commit: what arrived while a commit was under way is committed together, and answered after the commit.

One fsync serves the whole batch. Each operation has its own savepoint, sees what the earlier ones did (so duplicates
inside one batch are judged as any others), and falls alone where it raises.
"""

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gateway.store.sqlite.connection import connect_writer, is_outage, primary_code, unavailable
from gateway.store.sqlite.thread import ConnectionThread, Done, Operation, Outcome, Raised


def writer_thread(
    path: str, busy_seconds: float, *, progress: Operation[int], progressed: Callable[[], None]
) -> ConnectionThread:
    """The thread that writes. `progressed` is called on it after a commit that made `progress` answer more."""
    return ConnectionThread(
        "store-writer",
        partial(connect_writer, path, busy_seconds),
        partial(commit_together, path=path, progress=progress, progressed=progressed),
    )


def commit_together(
    db: sqlite3.Connection,
    operations: Sequence[Operation[Any]],
    *,
    path: str,
    progress: Operation[int],
    progressed: Callable[[], None],
) -> Sequence[Outcome[Any]]:
    """Carry out the operations in one transaction. Where that cannot be committed, no operation did anything."""
    try:
        outcomes, has_progressed = _transact(db, operations, path, progress)
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
    if has_progressed:
        progressed()
    return outcomes


def _transact(
    db: sqlite3.Connection, operations: Sequence[Operation[Any]], path: str, progress: Operation[int]
) -> tuple[Sequence[Outcome[Any]], bool]:
    db.execute("BEGIN IMMEDIATE")
    before = progress(db)
    outcomes = [_attempt(db, operation, path) for operation in operations]
    return outcomes, progress(db) > before


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
