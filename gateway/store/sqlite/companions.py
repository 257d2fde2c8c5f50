"""The files that SQLite keeps beside a database, and what says that they are of that database.

SQLite replays a `-wal` over whatever database is beside it, without a word: over a copy that was put in place after a
crash, it mixes two states of the books. So nothing opens a database before `refuse_foreign` has read its header.

Two marks say which database a `-wal` is of. A backup is in rollback mode, which has none. And each opening for writing
gives the database a new number, in its header (application_id) and in the lock file.
"""

import os
import secrets
import sqlite3
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gateway.store.base import StoreUnavailable

_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")

COMPANIONS = ("-wal", "-shm", "-journal")
"""The ends of their names."""


class Header(NamedTuple):
    """What the first bytes of a database say."""

    has_wal: bool
    """Whether it is in WAL mode; else in rollback mode."""
    number: int
    """Of the opening for writing that was the last; 0 where there was none."""


def companion(path: Path, end: str) -> Path:
    """The file beside a database, whose name is resolved as SQLite resolves it."""
    database = path.resolve()
    return database.with_name(database.name + end)


def lock_file(path: Path) -> Path:
    """The file that a gateway locks while it has the database open."""
    return companion(path, ".lock")


def read_header(path: Path) -> Header | None:
    """The header of a database; None where there is no file, or one that is not a database.

    Not in a process that has the database open: closing the file would release SQLite's locks.
    """
    with suppress(OSError), path.open("rb") as file:
        head = file.read(_HEADER_SIZE)
        if len(head) == _HEADER_SIZE and head.startswith(_MAGIC):
            return Header(head[18] == head[19] == 2, int.from_bytes(head[68:72], "big"))
    return None


def refuse_foreign(path: Path) -> None:
    """Raise StoreUnavailable where a file beside the database is of another database. Opens nothing with SQLite."""
    foreign = [file for file in (companion(path, end) for end in COMPANIONS) if _is_foreign(file, path)]
    if foreign:
        raise StoreUnavailable(
            f"database {path}: {' and '.join(map(str, foreign))} beside it "
            f"{'belongs' if len(foreign) == 1 else 'belong'} to another database, or to another state of this one, and "
            "SQLite would mix them. Nothing was opened. Was a copy put in its place? "
            "Run `session-gateway restore --from COPY`, which moves these files aside"
        )


def number_opening(db: sqlite3.Connection, path: Path) -> None:
    """Give the database a new number, so that it and what SQLite writes beside it are known to belong together.

    The lock file must exist. Between its two writes both numbers are valid: a crash then leaves either in the header.
    """
    before = int(db.execute("PRAGMA application_id").fetchone()[0])
    number = secrets.randbelow(2**31 - 1) + 1
    _write_numbers(path, before, number)
    db.execute(f"PRAGMA application_id = {number:d}")
    # Into the file itself: in the WAL alone it would say nothing about the file.
    busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if not busy:
        _write_numbers(path, number)


def _is_foreign(file: Path, database: Path) -> bool:
    if file.name.endswith("-shm") or not _has_content(file):
        return False  # SQLite rebuilds a -shm from the WAL
    if file.name.endswith("-journal"):
        return _has_pages(file)
    header = read_header(database)
    if header is None or not header.has_wal:
        return True
    numbers = _read_numbers(database)
    return bool(numbers) and header.number not in numbers


def _has_content(file: Path) -> bool:
    with suppress(FileNotFoundError):
        return file.stat().st_size > 0
    return False


def _has_pages(journal: Path) -> bool:
    """Whether SQLite would restore pages from it. One that was cut off while the database was made has none."""
    with journal.open("rb") as file:
        head = file.read(20)
    return len(head) == 20 and head.startswith(_JOURNAL_MAGIC) and struct.unpack(">I", head[16:])[0] > 1


def _write_numbers(path: Path, *numbers: int) -> None:
    descriptor = os.open(lock_file(path), os.O_WRONLY)
    try:
        # Padded, so that one write replaces all of it.
        os.pwrite(descriptor, " ".join(map(str, numbers)).ljust(32).encode(), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_numbers(path: Path) -> frozenset[int]:
    """The valid numbers; none where the lock file is missing, or a release before this one wrote it."""
    with suppress(OSError, ValueError):
        return frozenset(map(int, lock_file(path).read_text("ascii").split()))
    return frozenset()
