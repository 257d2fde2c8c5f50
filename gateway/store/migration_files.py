"""Numbered migrations: package data, one folder per engine. Each only adds, so that the previous release still works.

A migration may create tables and indexes, and add columns that have a default or may be NULL. A release that
must break with the previous one says so with a first line `-- breaks: the release before`, and is started alone.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

BREAKS = "-- breaks: the release before"

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: `version` is the schema's after it."""

    version: int
    sql: str

    @property
    def breaks(self) -> bool:
        """Whether a release that does not know this step cannot work after it."""
        return self.sql.startswith(BREAKS)


@dataclass(frozen=True, slots=True)
class SchemaVersions:
    """A schema's version before and after a migration; 0 for none."""

    before: int
    after: int


@cache
def migrations(engine: str) -> tuple[Migration, ...]:
    """Every migration of this release for an engine, in order."""
    folder = files("gateway.store").joinpath("migrations", engine)
    named = ((_NAME.fullmatch(file.name), file) for file in folder.iterdir())
    found = sorted((int(match[1]), file.read_text("utf-8")) for match, file in named if match)
    if [version for version, _ in found] != list(range(1, len(found) + 1)):
        raise RuntimeError(f"migrations are not numbered from 0001 without a gap: {[version for version, _ in found]}")
    return tuple(Migration(version, sql) for version, sql in found)
