"""Maintenance of a store: back it up and verify its books beside a running gateway, restore it without one."""

from datetime import UTC, datetime
from pathlib import Path

from gateway.config import Settings
from gateway.store import factory
from gateway.store.audit import Audit
from gateway.store.base import StoreUnavailable
from gateway.store.factory import audit_kept, store_location
from gateway.store.migration_files import SchemaVersions
from gateway.store.models import Discrepancy
from gateway.store.sqlite.backup import BackupFailed
from gateway.store.sqlite.backup import back_up as back_up_file
from gateway.store.sqlite.restore import DoesNotBalance, RestoreFailed
from gateway.store.sqlite.restore import restore as restore_file

_POSTGRESQL_BACKUP = """\
PostgreSQL makes its own backups, while gateways run. To back up this database alone:
  pg_dump --format=custom --file=gateway.dump DATABASE
To restore it, stop all gateways, and restore it into a new, empty database:
  createdb NEW && pg_restore --dbname=NEW --exit-on-error --single-transaction gateway.dump
For the whole server, to any point in time: pg_basebackup with archived WAL (continuous archiving).
Then name the restored database in [store] url, and run `session-gateway verify` before a gateway serves it."""


class MaintenanceError(Exception):
    """The command failed; the message says why, and what to do."""


async def verify(settings: Settings) -> Audit:
    """Verify the books. Raises MaintenanceError where they cannot be read."""
    try:
        return await audit_kept(settings.store.url.reveal(), settings.store.tls)
    except (StoreUnavailable, ValueError) as error:
        raise MaintenanceError(str(error)) from error


async def migrate(settings: Settings) -> SchemaVersions:
    """Bring the store's schema to this release's. Raises MaintenanceError where that is not possible."""
    try:
        return await factory.migrate(settings.store.url.reveal(), settings.store.tls)
    except (StoreUnavailable, ValueError) as error:
        raise MaintenanceError(str(error)) from error


def back_up(settings: Settings, to: Path) -> Audit:
    """Copy the database to a new file, and verify the books of the copy. Raises MaintenanceError."""
    if not settings.store.is_sqlite:
        raise MaintenanceError(_POSTGRESQL_BACKUP)
    try:
        return back_up_file(Path(store_location(settings.store.url.reveal())), to)
    except (BackupFailed, StoreUnavailable, ValueError) as error:
        raise MaintenanceError(str(error)) from error


def restore(settings: Settings, copy: Path) -> tuple[Audit, list[Path]]:
    """Put a copy in the place of the database: its audit, and the files moved aside. Raises MaintenanceError.

    Raises DoesNotBalance where the copy's books do not balance, and restores nothing.
    """
    if not settings.store.is_sqlite:
        raise MaintenanceError(_POSTGRESQL_BACKUP)
    try:
        return restore_file(Path(store_location(settings.store.url.reveal())), copy, datetime.now(UTC))
    except DoesNotBalance:
        raise
    except (RestoreFailed, StoreUnavailable, ValueError) as error:
        raise MaintenanceError(str(error)) from error


def describe(discrepancy: Discrepancy) -> str:
    """One line for an operator."""
    return f"{discrepancy.subject}: {discrepancy.field} is {discrepancy.actual}, and should be {discrepancy.expected}"
