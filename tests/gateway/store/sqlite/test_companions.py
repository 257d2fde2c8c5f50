"""The files beside a database: none of another database is opened with it, and reading changes none of them."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.store.base import StoreUnavailable
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.backup import back_up
from gateway.store.sqlite.companions import read_header
from gateway.store.sqlite.inspect import audit_file, snapshot
from tests.gateway.store.samples import cash, deliver, opened, posting

_CRASH = """
import asyncio, os, sys
from gateway.store.sqlite import SqliteStore
from tests.gateway.store.samples import deliver, opened, posting

async def main(path, count):
    store = SqliteStore(path)
    await store.open()
    await opened(store)
    for number in range(int(count)):
        await deliver(store, posting(f"r{number}"))
    os.kill(os.getpid(), 9)

asyncio.run(main(*sys.argv[1:]))
"""

_KILLED_WHILE_NUMBERED = """
from gateway.store.sqlite import companions

write, at = companions._write_numbers, sys.argv.pop()
calls = []

def write_or_die(*arguments):
    calls.append(arguments)
    if len(calls) == 2:
        os.kill(os.getpid(), 9)
    write(*arguments)
    if at == "both are valid":
        os.kill(os.getpid(), 9)

companions._write_numbers = write_or_die
"""


def crash(script: str, *arguments: str) -> None:
    """Run a script that kills itself."""
    ended = subprocess.run([sys.executable, "-c", script, *arguments], check=False)  # noqa: S603 - our own
    assert ended.returncode == -signal.SIGKILL


def killed(path: Path, results: int) -> None:
    """A store that credited this number of Results, and was killed: its last commits are in the `-wal` alone."""
    crash(_CRASH, str(path), str(results))
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but lock files."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".lock"}


def backup_over(path: Path) -> None:
    """As an operator may do it: a backup is copied over the database."""
    shutil.copyfile(path.with_name("backup.db"), path)


def backup_renamed(path: Path) -> None:
    """The same with a rename, so that the database is another file."""
    path.with_name("backup.db").rename(path)


def stopped_copy_over(path: Path) -> None:
    """A copy of the file of a gateway that was stopped: it is in WAL mode, as the database is."""
    shutil.copyfile(path.with_name("stopped.db"), path)


def backup_behind_a_link(path: Path) -> None:
    """The database is a link to a file elsewhere, which is where SQLite looks for a `-wal`."""
    elsewhere = path.with_name("elsewhere.db")
    shutil.copyfile(path.with_name("backup.db"), elsewhere)
    path.with_name("gateway.db-wal").rename(path.with_name("elsewhere.db-wal"))
    path.unlink()
    path.symlink_to(elsewhere)


def database_moved_away(path: Path) -> None:
    """A new database would be created beside the old one's `-wal`."""
    path.rename(path.with_name("moved.db"))


def emptied(path: Path) -> None:
    """An empty file is in the database's place."""
    path.write_bytes(b"")


def journal_of_another(path: Path) -> None:
    """A journal that a crash left beside another database is put beside this one."""
    other = path.with_name("other.db")
    script = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('CREATE TABLE t (x)'); db.execute('PRAGMA cache_size = 1'); db.execute('BEGIN')\n"
        "db.executemany('INSERT INTO t VALUES (?)', [('x' * 3000,)] * 100); os.kill(os.getpid(), 9)"
    )
    crash(script, str(other))
    shutil.copyfile(other.with_name("other.db-journal"), path.with_name("gateway.db-journal"))


@pytest.mark.parametrize(
    ("put", "foreign"),
    [
        (backup_over, "gateway.db-wal"),
        (backup_renamed, "gateway.db-wal"),
        (stopped_copy_over, "gateway.db-wal"),
        (backup_behind_a_link, "elsewhere.db-wal"),
        (database_moved_away, "gateway.db-wal"),
        (emptied, "gateway.db-wal"),
        (journal_of_another, "gateway.db-journal"),
    ],
)
async def test_a_database_with_another_ones_files_is_not_opened(
    tmp_path: Path, put: Callable[[Path], None], foreign: str
) -> None:
    """Neither to serve nor to read: the foreign file is named, and no byte of any file changes."""
    path = tmp_path / "gateway.db"
    store = SqliteStore(str(path))
    await store.open()
    await store.close()
    shutil.copyfile(path, tmp_path / "stopped.db")
    back_up(path, tmp_path / "backup.db")
    killed(path, 3)
    put(path)
    before = contents(tmp_path)
    with pytest.raises(StoreUnavailable, match=rf"{foreign} beside it belongs to another.*restore --from COPY"):
        await store.open()
    with pytest.raises(StoreUnavailable, match=rf"{foreign} beside it belongs to another"), snapshot(path):
        pass
    assert contents(tmp_path) == before


async def test_a_killed_gateways_own_files_are_opened(tmp_path: Path) -> None:
    """Also where it was killed again and again, and where a release before this one wrote the lock file."""
    path = tmp_path / "gateway.db"
    for number in range(3):
        killed(path, number + 1)
    (tmp_path / "gateway.db.lock").write_bytes(b"")
    store = SqliteStore(str(path))
    await store.open()
    assert await cash(store) == Decimal("31.50")
    await store.close()


@pytest.mark.parametrize("killed_at", ["both are valid", "the new one is in the file"])
async def test_a_crash_between_the_numbers_leaves_a_database_that_opens(tmp_path: Path, killed_at: str) -> None:
    """Until the new number is in the file, the old one counts too."""
    path = tmp_path / "gateway.db"
    killed(path, 1)
    script = _CRASH.replace("asyncio.run(main", _KILLED_WHILE_NUMBERED + "\nasyncio.run(main")
    crash(script, str(path), "0", killed_at)
    store = SqliteStore(str(path))
    await store.open()
    assert await cash(store) == Decimal("10.50")
    await store.close()
    header = read_header(path)
    assert header is not None
    assert (tmp_path / "gateway.db.lock").read_text().split() == [str(header.number)]


@pytest.mark.parametrize("without", ["", "-shm", "-wal and -shm"])
def test_reading_changes_no_byte(tmp_path: Path, without: str) -> None:
    """After a SIGKILL, `check` and `verify` read what is in the `-wal`, and leave every file as it was."""
    path = tmp_path / "gateway.db"
    killed(path, 5)
    if without == "-wal and -shm":
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for end in ("-wal", "-shm"):
        if end in without:
            path.with_name(f"gateway.db{end}").unlink(missing_ok=True)
    before, modified = contents(tmp_path), path.stat().st_mtime_ns
    for _ in range(2):
        assert audit_file(path).transactions == 5
    assert contents(tmp_path) == before
    assert path.stat().st_mtime_ns == modified


async def test_a_start_while_a_stopped_database_is_read_is_noticed(tmp_path: Path) -> None:
    """What was read then may be of two states, so the command fails and asks for another run."""
    path = tmp_path / "gateway.db"
    store = SqliteStore(str(path))
    await store.open()
    await store.close()
    reading = ExitStack()
    reading.enter_context(snapshot(path))
    await store.open()
    await store.close()
    with pytest.raises(StoreUnavailable, match="a gateway started while it was read"):
        reading.close()


async def other_name(path: Path) -> Path:
    """A second name of the same file."""
    name = path.with_name("second.db")
    os.link(path, name)
    return name


async def link_to_it(path: Path) -> Path:
    name = path.with_name("link.db")
    name.symlink_to(path)
    return name


async def without_lock_file(path: Path) -> Path:
    """Somebody tidied up."""
    path.with_name("gateway.db.lock").unlink()
    return path


async def replaced(path: Path) -> Path:
    """The file was replaced while a gateway has the old one open."""
    back_up(path, path.with_name("backup.db"))
    path.with_name("backup.db").rename(path)
    return path


@pytest.mark.parametrize("again", [other_name, link_to_it, without_lock_file, replaced])
async def test_two_gateways_never_have_one_database_open(store: SqliteStore, path: str, again: object) -> None:
    """Under another name, without its lock file, or with another file in its place, it is refused all the same."""
    await opened(store)
    await deliver(store, posting())
    assert callable(again)
    name = await again(Path(path))
    with pytest.raises(StoreUnavailable, match="another gateway has it open"):
        await SqliteStore(str(name)).open()
