"""A database is replaced by a copy of it, and what was in its place is moved aside: never mixed, never deleted.

Killed at any moment, it leaves the database as it was, or the copy, or the copy beside a foreign `-wal`, which no
gateway opens: then it is run again.
"""

import os
from contextlib import suppress
from datetime import datetime
from glob import escape
from pathlib import Path

from gateway.store.audit import Audit
from gateway.store.sqlite.backup import BackupFailed, back_up, fsync
from gateway.store.sqlite.companions import COMPANIONS, companion
from gateway.store.sqlite.file_lock import FileLock


class RestoreFailed(Exception):
    """Nothing was restored, and the database is as it was. The message says what to do."""


class DoesNotBalance(RestoreFailed):
    """The copy's books do not balance. `audit` has the differences."""

    def __init__(self, copy: Path, audit: Audit) -> None:
        super().__init__(f"{copy}: its ledger does not balance, so it was not restored; restore an earlier copy")
        self.audit = audit


def restore(path: Path, copy: Path, now: datetime) -> tuple[Audit, list[Path]]:
    """Put a copy in the place of the database: its audit, and the files that were moved aside.

    Raises RestoreFailed, and StoreUnavailable where a gateway has the database open or the copy cannot be read.
    """
    database = path.resolve()
    if copy.resolve() == database:
        raise RestoreFailed(f"{copy}: it is the database itself; name the copy of it that is to take its place")
    lock = FileLock(str(path))
    lock.acquire(restoring=True)
    try:
        draft = database.with_name(f"{database.name}.restoring")
        audit = _checked(copy, draft)
        return audit, _replace(database, draft, now)
    finally:
        lock.release()


def _checked(copy: Path, draft: Path) -> Audit:
    """Copy the copy beside the database, in rollback mode. A draft of a command that was killed is replaced."""
    for left in (draft, draft.with_name(f"{draft.name}.incomplete")):
        left.unlink(missing_ok=True)
    try:
        audit = back_up(copy, draft)
    except BackupFailed as failed:
        raise RestoreFailed(f"{copy}: {failed}") from failed
    if audit.discrepancies:
        draft.unlink()
        raise DoesNotBalance(copy, audit)
    return audit


def _replace(database: Path, draft: Path, now: datetime) -> list[Path]:
    """Give every file of the database a second name, put the draft in its place, and remove the first names.

    In this order no moment leaves the database without its WAL: what is in the WAL alone was acknowledged too.
    """
    _remove_other_names(database)
    aside = database.with_name(f"{database.name}.replaced-{now:%Y%m%dT%H%M%S.%fZ}")
    moved = []
    try:
        for file in (database, *(companion(database, end) for end in COMPANIONS)):
            with suppress(FileNotFoundError):
                name = aside.with_name(aside.name + file.name.removeprefix(database.name))
                os.link(file, name)
                moved.append(name)
        if os.geteuid() == 0 and database.exists():
            os.chown(draft, database.stat().st_uid, database.stat().st_gid)
        fsync(database.parent)
        draft.rename(database)
    except OSError as error:
        for name in moved:
            name.unlink()
        raise RestoreFailed(
            f"{database}: {error.strerror}; its file system must have hard links, and let the gateway's user write"
        ) from error
    for end in COMPANIONS:
        companion(database, end).unlink(missing_ok=True)
    fsync(database.parent)
    return moved


def _remove_other_names(database: Path) -> None:
    """Remove the second names that a killed command gave a database which is still in its place."""
    for name in database.parent.glob(f"{escape(database.name)}.replaced-*"):
        if database.exists() and name.samefile(database):
            for file in (name, *(companion(name, end) for end in COMPANIONS)):
                file.unlink(missing_ok=True)
