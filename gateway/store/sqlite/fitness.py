"""Whether a file and its place fit: what a gateway relies on, found without writing anything.

Each problem is one sentence: what is wrong, and what to do. A start and `check` look with the same functions.
"""

import os
import re
import sqlite3
import stat
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from gateway.store.base import StoreUnavailable
from gateway.store.migration_files import migrations
from gateway.store.sqlite.migrations import ENGINE, applied, execute, refuse_newer

MIN_VERSION = (3, 37, 0)
"""Its tables can be STRICT."""

_NETWORK = frozenset(
    {"afs", "afpfs", "ceph", "cifs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"}
    | {"fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"}
)
"""File systems that several hosts can mount: the write-ahead log needs memory that all its users share."""

_OURS = "providers"
"""A table of the first migration."""

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")
"""How it writes a blank in a path."""


def place_problems(path: str) -> Sequence[str]:
    """What is wrong with the library, the file system, and the rights there, whether or not the file exists."""
    found = []
    if sqlite3.sqlite_version_info < MIN_VERSION:
        found.append(
            f"Python's SQLite library is {sqlite3.sqlite_version}, and this release needs "
            f"{'.'.join(map(str, MIN_VERSION))} or newer; update libsqlite3, or use a Python that brings one"
        )
    file = Path(os.path.realpath(path))
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        return [*found, f"it cannot be opened: {error.strerror}; name another file, or let the gateway's user read it"]
    if mode is not None and not stat.S_ISREG(mode):
        return [*found, "it is not a file; name one in [store] url"]
    if mode is not None and not os.access(file, os.R_OK | os.W_OK, effective_ids=True):
        found.append("the gateway's user may not write it; give it to that user")
    if file.parent.is_dir() and not os.access(file.parent, os.W_OK | os.X_OK, effective_ids=True):
        found.append("the gateway's user may not write its folder, where SQLite puts its log; give it to that user")
    if (kind := file_system(file.parent, _mounts())) in _NETWORK:
        found.append(
            f"its file system is {kind}, which several hosts can mount, and SQLite's write-ahead log needs one; "
            "put it on a local disk, or use PostgreSQL"
        )
    return found


def file_problems(db: sqlite3.Connection, path: str) -> Sequence[str]:
    """What is wrong with an existing database, by the migrations that it says were applied. An empty one fits.

    Raises StoreUnavailable where a newer release changed it such that this one cannot work with it.
    """
    found = []
    if (encoding := db.execute("PRAGMA encoding").fetchone()[0]) != "UTF-8":
        found.append(
            f"its encoding is {encoding}, and the gateway's order of keys is that of UTF-8; make a new file: "
            "sqlite3 OLD .dump | sqlite3 NEW"
        )
    tables = _tables(db)
    if _OURS in tables:
        refuse_newer(db, path)
        return [*found, *_changed_by_hand(db, applied(db))]
    if tables:
        found.append(
            f"it is another program's database, with the table {min(tables)}; name a file of the gateway's in [store] "
            "url, or one that does not exist yet"
        )
    return found


def refuse_unfit(path: str, problems: Sequence[str]) -> None:
    """Raise StoreUnavailable with the problems, if there are any."""
    if problems:
        raise StoreUnavailable(f"database {path}: {'; '.join(problems)}")


def file_system(folder: Path, mounts: str) -> str:
    """The type of the file system that a folder is on, by the text of /proc/self/mountinfo; '' where it is unknown."""
    found, depth = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if not after or len(fields) < 5:
            continue
        point = Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[4]))
        if folder.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = after.split(" ")[0], len(point.parts)
    return found


def _mounts() -> str:
    if sys.platform == "linux":
        with suppress(OSError):
            return _MOUNTS.read_text(errors="surrogateescape")
    return ""


def _changed_by_hand(db: sqlite3.Connection, steps: frozenset[int]) -> list[str]:
    """Compare with a database in memory, to which the same steps were applied."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as ours:
        known = [step for step in migrations(ENGINE) if step.version in steps]
        for step in known:
            execute(ours, step)
        tables, there = _tables(ours), _tables(db)
        changed, lost = [], []
        for table in tables & there:
            columns, unique = _columns(db, table), _unique(db, table)
            changed += [f"{table}.{name}" for name, kind in _columns(ours, table).items() if columns.get(name) != kind]
            lost += [f"{table} ({', '.join(sorted(key))})" for key in _unique(ours, table) - unique]
    differences = (
        ("tables are missing", tables - there),
        ("columns are missing or of another type", changed),
        ("unique indexes are missing", lost),
    )
    found = [f"{what}: {', '.join(sorted(where))}" for what, where in differences if where]
    version = max((step.version for step in known), default=0)
    advice = "restore what was changed by hand, or a backup"
    return [f"its schema is not what migration {version} made, {'; '.join(found)}; {advice}"] if found else []


def _tables(db: sqlite3.Connection) -> frozenset[str]:
    rows = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
    return frozenset(name for (name,) in rows)


def _columns(db: sqlite3.Connection, table: str) -> dict[str, tuple[str, int, int]]:
    """The type of each column, whether it may be NULL, and its place in the primary key."""
    rows = db.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (table,))
    return {name: (kind, required, key) for name, kind, required, key in rows}


def _unique(db: sqlite3.Connection, table: str) -> frozenset[frozenset[str]]:
    indexes = db.execute('SELECT name FROM pragma_index_list(?) WHERE "unique" AND NOT partial', (table,)).fetchall()
    return frozenset(
        frozenset(column for (column,) in db.execute("SELECT name FROM pragma_index_info(?)", (index,)))
        for (index,) in indexes
    )
