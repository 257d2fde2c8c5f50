"""Reads, on a separate connection: they never wait for a commit, and see committed data only."""

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any

from gateway.store.batching import Done, Outcome, Raised
from gateway.store.sqlite.connection import connect_reader, is_outage, unavailable
from gateway.store.sqlite.thread import ConnectionThread, Operation


def reader_thread(path: str, busy_seconds: float) -> ConnectionThread:
    """The thread that reads."""
    return ConnectionThread("store-reader", partial(connect_reader, path, busy_seconds), partial(_read_each, path=path))


def _read_each(db: sqlite3.Connection, operations: Sequence[Operation[Any]], *, path: str) -> Sequence[Outcome[Any]]:
    return [_read(db, operation, path) for operation in operations]


def _read(db: sqlite3.Connection, operation: Operation[Any], path: str) -> Outcome[Any]:
    try:
        db.execute("BEGIN")  # one snapshot for all statements of the operation
        return Done(operation(db))
    except Exception as error:  # noqa: BLE001 - raised at the caller
        return Raised(unavailable(path, error) if isinstance(error, sqlite3.Error) and is_outage(error) else error)
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
