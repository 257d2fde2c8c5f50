"""What an operator does to a store from outside: a backup, and a look whether the books add up."""

from pathlib import Path

from gateway.config import Settings
from gateway.store.audit import Audit
from gateway.store.base import StoreUnavailable
from gateway.store.factory import audit_kept, store_location
from gateway.store.models import Discrepancy
from gateway.store.sqlite.backup import BackupFailed
from gateway.store.sqlite.backup import back_up as back_up_file

_OF_POSTGRESQL = """\
PostgreSQL makes its own backups, while gateways run. Of this database alone:
  pg_dump --format=custom --file=gateway.dump DATABASE
and back, into a new and empty one:
  createdb NEW && pg_restore --dbname=NEW --exit-on-error --single-transaction gateway.dump
Of the whole server, to any moment: pg_basebackup with archived WAL (continuous archiving).
Then name the restored database in [store] url, and look with `session-gateway verify` before a gateway serves it."""


class MaintenanceError(Exception):
    """What was asked for could not be done; the message says why, and what to do."""


async def verify(settings: Settings) -> Audit:
    """Whether the books add up. Raises NotDone where they cannot be read."""
    try:
        return await audit_kept(settings.store.url.reveal())
    except (StoreUnavailable, ValueError) as error:
        raise MaintenanceError(str(error)) from error


def back_up(settings: Settings, to: Path) -> Audit:
    """Copy the database to a new file, and look whether the books add up there. Raises NotDone."""
    if not settings.store.is_sqlite:
        raise MaintenanceError(_OF_POSTGRESQL)
    try:
        return back_up_file(Path(store_location(settings.store.url.reveal())), to)
    except (BackupFailed, StoreUnavailable, ValueError) as error:
        raise MaintenanceError(str(error)) from error


def after_backup(settings: Settings, to: Path) -> str:
    """What to tell the operator: what he has, and how it is restored."""
    path = store_location(settings.store.url.reveal())
    return (
        f"{to}: a whole copy, on the disk and checked\n"
        f"to restore it: stop the gateway, remove {path}, {path}-wal and {path}-shm, and put a copy of it at {path}"
    )


def describe(difference: Discrepancy) -> str:
    """A line for a person."""
    return f"{difference.subject}: {difference.field} is {difference.actual}, and should be {difference.expected}"
