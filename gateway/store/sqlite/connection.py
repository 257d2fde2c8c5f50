"""Connections to the file, how durable they are, and what an operator can do about their errors."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from gateway.store.base import StoreUnavailable
from gateway.store.sqlite import fitness
from gateway.store.sqlite.companions import number_opening
from gateway.store.sqlite.file_modes import create_private, make_private
from gateway.store.sqlite.migrations import migrate

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process holds it locked; end that process or wait for it (a backup? a gateway?)",
    sqlite3.SQLITE_LOCKED: "another connection holds a table of it locked; end what uses it besides the gateway",
    sqlite3.SQLITE_FULL: "its disk is full; free some space there",
    sqlite3.SQLITE_READONLY: "it cannot be written to; let the gateway's user write the file and its folder",
    sqlite3.SQLITE_PERM: "access is denied; let the gateway's user read and write the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; its folder must exist, and the gateway's user may write there",
    sqlite3.SQLITE_IOERR: "its disk reported an I/O error; check the disk first",
    sqlite3.SQLITE_CORRUPT: "it is damaged; stop the gateway and run `session-gateway restore --from COPY`",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database; see that [store] url names the right file",
}

_FULL = 2
"""The number by which SQLite answers PRAGMA synchronous."""


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension; 0 where Python raised the error itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def unavailable(path: str, error: sqlite3.Error, *, unchanged: bool = True) -> StoreUnavailable:
    """What happened to which file, and what to do about it. A new error each time: each caller raises its own."""
    advice = _ADVICE.get(primary_code(error), "SQLite could not execute the operation; check the file and its disk")
    failure = StoreUnavailable(f"database {path}: {advice} (SQLite says: {error})", unchanged=unchanged)
    failure.__cause__ = error
    return failure


def is_outage(error: BaseException) -> bool:
    """Whether the database is at fault; the other errors of sqlite3 (a broken constraint, a wrong call) are bugs."""
    return isinstance(error, sqlite3.OperationalError | sqlite3.InternalError) or type(error) is sqlite3.DatabaseError


def connect_writer(path: str, busy_seconds: float) -> sqlite3.Connection:
    """The one connection that writes, its schema brought to this release's. Raises StoreUnavailable.

    The process must hold the file's lock. The file is created for its owner alone, and an older one becomes so.
    """
    fitness.refuse_unfit(path, fitness.place_problems(path))
    create_private(path)
    return _connect(path, busy_seconds, _prepare_writer)


def connect_reader(path: str, busy_seconds: float, *, uri: bool = False) -> sqlite3.Connection:
    """A connection that sees committed data only, and cannot write. Raises StoreUnavailable.

    With `uri` the path is one of SQLite's URIs.
    """
    return _connect(path, busy_seconds, _prepare_reader, uri=uri)


def _prepare_writer(db: sqlite3.Connection, path: str) -> None:
    fitness.refuse_unfit(path, fitness.file_problems(db, path))
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnavailable(
            f"database {path}: its file system has no write-ahead log (journal mode is {mode!r}); "
            "put the file on a local disk"
        )
    # In WAL mode only FULL waits for the disk at each commit, and only a full fsync gets past a Mac's disk cache.
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")
    db.execute("PRAGMA checkpoint_fullfsync = ON")
    db.execute("PRAGMA foreign_keys = ON")
    # What a savepoint copies stays in memory, not in a file; larger indexes fit into the cache; and the log is copied
    # into the file every 16 MB, not every 4, so that a page that changes often is copied less often.
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute("PRAGMA cache_size = -32768")
    db.execute("PRAGMA wal_autocheckpoint = 4000")
    if (synchronous := db.execute("PRAGMA synchronous").fetchone()[0]) != _FULL:
        raise StoreUnavailable(
            f"database {path}: SQLite's synchronous is {synchronous}, though the gateway sets {_FULL} (FULL), and "
            "could lose acknowledged credits in a power failure; use another SQLite library"
        )
    migrate(db, path)
    number_opening(db, Path(path))
    make_private(path)


def _prepare_reader(db: sqlite3.Connection, path: str) -> None:
    db.execute("PRAGMA query_only = ON")


def _connect(
    path: str, busy_seconds: float, prepare: Callable[[sqlite3.Connection, str], None], *, uri: bool = False
) -> sqlite3.Connection:
    try:
        # No isolation level: transactions begin and end only where the code says so.
        db = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, uri=uri)
    except sqlite3.Error as error:
        raise unavailable(path, error) from error
    db.row_factory = sqlite3.Row
    try:
        prepare(db, path)
    except sqlite3.Error as error:
        db.close()
        raise unavailable(path, error) from error
    except BaseException:
        db.close()
        raise
    return db
