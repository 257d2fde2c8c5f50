"""Connections: durable, with timeouts, and with errors that say what is wrong with a file."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.store.base import StoreUnavailable
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.thread import Operation
from tests.gateway.store.sqlite.inside import reader, writer


def pragma(name: str) -> Operation[object]:
    return lambda db: db.execute(f"PRAGMA {name}").fetchone()[0]


async def test_commits_reach_the_disk(path: str) -> None:
    """The writer waits for the disk at each commit, keeps foreign keys, and waits two seconds for a lock.

    What a savepoint copies goes to memory, and not to a file in a folder for temporary ones, which may be full.
    """
    store = SqliteStore(path)
    await store.open()
    expected = {
        "journal_mode": "wal",
        "synchronous": 2,
        "fullfsync": 1,
        "foreign_keys": 1,
        "busy_timeout": 2000,
        "temp_store": 2,
    }
    assert {name: await writer(store).run(pragma(name)) for name in expected} == expected
    await store.close()


async def test_the_reader_cannot_write(store: SqliteStore, path: str) -> None:
    """A write that ends up on the reader's connection is refused, and its transaction does not stay open."""
    with pytest.raises(StoreUnavailable, match="cannot be written to"):
        await reader(store).run(lambda db: db.execute("INSERT INTO pings VALUES (1, 1)"))
    assert await reader(store).run(pragma("user_version")) != 0
    with closing(sqlite3.connect(path)) as other:
        other.execute("INSERT INTO pings VALUES (1, 1)")


async def test_a_ping_writes(store: SqliteStore, path: str) -> None:
    """Each ping is a write that another connection can see."""
    for _ in range(3):
        await store.ping()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count FROM pings").fetchall() == [(3,)]


def missing_folder(folder: Path) -> Path:
    return folder / "missing" / "gateway.db"


def other_file(folder: Path) -> Path:
    (folder / "notes.txt").write_text("these are not the rows that you look for\n" * 100)
    return folder / "notes.txt"


def a_folder(folder: Path) -> Path:
    return folder


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (missing_folder, "its folder must exist"),
        (other_file, "not a SQLite database"),
        (a_folder, "cannot be opened"),
    ],
)
async def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    """The message names the file and what to do; the store can be opened once that is fixed."""
    path = make(tmp_path)
    store = SqliteStore(str(path))
    with pytest.raises(StoreUnavailable, match=says) as caught:
        await store.open()
    assert str(path) in str(caught.value)
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.ping()


async def test_a_failed_open_can_be_repeated(tmp_path: Path) -> None:
    """Once the folder is there the same store opens."""
    path = missing_folder(tmp_path)
    store = SqliteStore(str(path))
    with pytest.raises(StoreUnavailable):
        await store.open()
    path.parent.mkdir()
    await store.open()
    await store.ping()
    await store.close()


async def test_opening_twice_is_a_bug(store: SqliteStore) -> None:
    """A second `open` would leave the first connection behind."""
    with pytest.raises(RuntimeError, match="open already"):
        await store.open()


async def test_one_process_has_a_database(path: str) -> None:
    """A second gateway on the same file is refused while the first has it open, and not after."""
    first, second = SqliteStore(path), SqliteStore(path)
    await first.open()
    with pytest.raises(StoreUnavailable, match="another gateway"):
        await second.open()
    await first.ping()
    await first.close()
    await second.open()
    await second.ping()
    await second.close()


async def test_closing_leaves_one_database_file(path: str) -> None:
    """After an orderly end the write-ahead log is folded into the file, which can be copied alone."""
    store = SqliteStore(path)
    await store.open()
    await store.ping()
    await store.close()
    assert {each.name for each in Path(path).parent.iterdir()} == {"gateway.db", "gateway.db.lock"}
