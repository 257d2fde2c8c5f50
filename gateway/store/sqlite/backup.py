"""A backup of a database while a gateway writes to it: one snapshot, in a new file, checked before it is renamed."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from gateway.store.audit import Audit
from gateway.store.sqlite.audit import audit
from gateway.store.sqlite.inspect import snapshot

PAGES_PER_STEP = 4096
"""Between two steps an interrupt is noticed."""


class BackupFailed(Exception):
    """No backup was made, and no file is left. The message says what to do."""


def back_up(path: Path, to: Path) -> Audit:
    """Copy a database to a new file, and audit the books in the copy.

    It has everything that was committed before it began. A copy with discrepancies is kept too: it is what
    the database holds. Raises BackupFailed, and StoreUnavailable where the database cannot be read.
    """
    if _exists(to):
        raise BackupFailed(f"{to}: it exists already, and a backup overwrites nothing; name a new file")
    # Until it is complete and checked, it must not look like a backup.
    draft = to.with_name(f"{to.name}.incomplete")
    _create(draft)
    try:
        found = _write(path, draft)
        fsync(draft)
        draft.rename(to)
    except OSError as error:
        raise BackupFailed(f"{to}: {error.strerror}; name a file where the backup's user may write") from error
    finally:
        for left in (draft, *(draft.with_name(f"{draft.name}-{end}") for end in ("journal", "wal", "shm"))):
            left.unlink(missing_ok=True)
    fsync(to.absolute().parent)
    return found


def _exists(to: Path) -> bool:
    try:
        return to.exists()
    except OSError as error:
        raise BackupFailed(f"{to}: {error.strerror}; name a file where the backup's user may write") from error


def _create(draft: Path) -> None:
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise BackupFailed(
            f"{draft}: another backup is writing it, or was cut off; remove it if none is running"
        ) from None
    except OSError as error:
        raise BackupFailed(f"{draft}: {error.strerror}; its folder must exist and be writable") from error


def _write(path: Path, draft: Path) -> Audit:
    # One snapshot for all steps: without it each commit of the gateway would restart the copy.
    with snapshot(path, required=True) as source:
        try:
            with closing(sqlite3.connect(draft, isolation_level=None)) as copy:
                source.backup(copy, pages=PAGES_PER_STEP, sleep=0)
                copy.execute("PRAGMA journal_mode = DELETE")  # the copy is one file, whole by itself
        except sqlite3.Error as error:
            raise BackupFailed(f"{draft}: the copy could not be written (SQLite says: {error})") from error
    return _check(draft)


def _check(draft: Path) -> Audit:
    with snapshot(draft, required=True) as copy:
        if damage := [text for (text,) in copy.execute("PRAGMA integrity_check") if text != "ok"]:
            raise BackupFailed(f"{draft}: the copy is damaged, and so may the database be: {'; '.join(damage[:3])}")
        return audit(copy)


def fsync(path: Path) -> None:
    """Wait until a file, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
