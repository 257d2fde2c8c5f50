"""The database's files are for their owner alone: they hold balances, and what players and providers sent."""

import os
import stat
from contextlib import suppress
from pathlib import Path

import structlog

from gateway.store.sqlite.companions import COMPANIONS, companion, lock_file

log = structlog.get_logger(__name__)

PRIVATE = 0o600

_OTHERS = 0o077


def create_private(path: str) -> None:
    """Create the database where there is none, before it holds anything; an empty file becomes private."""
    database = Path(path).resolve()
    with suppress(OSError):  # SQLite raises it with its own code
        if database.is_file() and database.stat().st_size == 0:
            _make_private(database)
        descriptor = os.open(database, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE)
        os.fchmod(descriptor, PRIVATE)  # whatever the umask
        os.close(descriptor)


def make_private(path: str) -> None:
    """Take the group's and others' access to a database and the files next to it. Logs what it changed or could not.

    Call it only for a file that is known to be a gateway's database.
    """
    database = Path(path)
    for file in (database.resolve(), *(companion(database, end) for end in COMPANIONS), lock_file(database)):
        with suppress(FileNotFoundError):
            _make_private(file)


def _make_private(file: Path) -> None:
    before = stat.S_IMODE(file.stat().st_mode)
    if not before & _OTHERS:
        return
    with suppress(PermissionError):
        file.chmod(PRIVATE)
    if stat.S_IMODE(file.stat().st_mode) & _OTHERS:  # some file systems have no modes
        log.warning("file can be read by others: give it to the gateway's user", file=str(file), mode=f"{before:04o}")
    else:
        log.info("file made private", file=str(file), mode_before=f"{before:04o}", mode=f"{PRIVATE:04o}")
