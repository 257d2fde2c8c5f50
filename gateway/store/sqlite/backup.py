"""A backup of a database while a gateway writes to it: one snapshot, in a new file, checked before it has its name."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.store.audit import Audit
from gateway.store.sqlite.audit import audit
from gateway.store.sqlite.inspect import looking

PAGES_AT_ONCE = 4096
"""Copied between two looks at whether somebody has interrupted it."""


class BackupFailed(Exception):
    """Nothing that could be taken for a backup was left behind. The message says what to do."""


def back_up(path: Path, to: Path) -> Audit:
    """Copy a database to a new file, and look whether its books add up there.

    Everything that was committed before it began is in it. A copy whose books do not add up is kept all the same: it is
    what the database holds. Raises BackupFailed, and StoreUnavailable where the database cannot be read.
    """
    if _is_there(to):
        raise BackupFailed(f"{to}: it exists already, and a backup overwrites nothing; name a new file")
    # Until it is whole and checked, it must not look like a backup.
    draft = to.with_name(f"{to.name}.incomplete")
    _make(draft)
    try:
        found = _written(path, draft)
        _synced(draft)
        draft.rename(to)
    except OSError as error:
        raise BackupFailed(f"{to}: {error.strerror}; name a file where the backup's user may write") from error
    finally:
        for left in (draft, *(draft.with_name(f"{draft.name}-{end}") for end in ("journal", "wal", "shm"))):
            left.unlink(missing_ok=True)
    _synced(to.absolute().parent)
    return found


def _is_there(to: Path) -> bool:
    try:
        return to.exists()
    except OSError as error:
        raise BackupFailed(f"{to}: {error.strerror}; name a file where the backup's user may write") from error


def _make(draft: Path) -> None:
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise BackupFailed(
            f"{draft}: another backup is writing it, or was cut off; remove it if none is running"
        ) from None
    except OSError as error:
        raise BackupFailed(f"{draft}: {error.strerror}; its folder must exist, and let you write") from error


def _written(path: Path, draft: Path) -> Audit:
    # One snapshot for all steps: without it each commit of the gateway would make the copy begin anew.
    with looking(path, kept=True) as source:
        try:
            with closing(sqlite3.connect(draft, isolation_level=None)) as copy:
                source.backup(copy, pages=PAGES_AT_ONCE, sleep=0)
                copy.execute("PRAGMA journal_mode = DELETE")  # the copy is one file, whole by itself
        except sqlite3.Error as error:
            raise BackupFailed(f"{draft}: the copy could not be written (SQLite says: {error})") from error
    return _checked(draft)


def _checked(draft: Path) -> Audit:
    with looking(draft, kept=True) as copy:
        if damage := [text for (text,) in copy.execute("PRAGMA integrity_check") if text != "ok"]:
            raise BackupFailed(f"{draft}: the copy is damaged, and so may the database be: {'; '.join(damage[:3])}")
        return audit(copy)


def _synced(path: Path) -> None:
    """Have it reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
