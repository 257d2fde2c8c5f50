"""A backup while a gateway writes: one snapshot, and on the disk before it is renamed."""

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.store.audit import Audit
from gateway.store.models import Applied, Message
from gateway.store.sqlite import SqliteStore, backup
from gateway.store.sqlite.backup import BackupFailed, back_up
from gateway.store.sqlite.inspect import snapshot
from tests.gateway.store.samples import deliver, exchange, opened, posting


async def test_a_store_that_never_rests_is_copied_as_it_was_at_one_moment(
    store: SqliteStore, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copied page by page while Results are credited, it comes to an end, and the books in it add up."""
    monkeypatch.setattr(backup, "PAGES_PER_STEP", 1)
    await opened(store)
    for number in range(50):
        await deliver(store, posting(f"before-{number}"))
    await store.record_exchange(exchange(request=Message("", b"x" * 8_000_000)))  # pages to copy between two commits
    copying = asyncio.create_task(asyncio.to_thread(back_up, Path(path), tmp_path / "copy.db"))
    meanwhile = 0
    async with asyncio.timeout(60):
        while not copying.done():
            assert isinstance(await deliver(store, posting(f"meanwhile-{meanwhile}")), Applied)
            meanwhile += 1
    found = await copying
    assert found.discrepancies == ()
    assert 50 <= found.transactions <= 50 + meanwhile
    assert meanwhile


async def test_the_snapshot_is_taken_before_the_first_page_is_copied(
    store: SqliteStore, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed while pages are copied is left out: to copy it too would restart the copy each time."""

    @contextmanager
    def then_written(database: Path, *, required: bool) -> Iterator[sqlite3.Connection]:
        with snapshot(database, required=required) as db:
            if database == Path(path):
                with closing(sqlite3.connect(path)) as other, other:
                    other.execute("INSERT INTO providers VALUES ('meanwhile')")
            yield db

    monkeypatch.setattr("gateway.store.sqlite.backup.snapshot", then_written)
    await store.remember_providers(frozenset({"before"}))
    back_up(Path(path), tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT name FROM providers").fetchall() == [("before",)]


async def test_the_copy_is_on_the_disk_before_it_has_its_name(
    store: SqliteStore, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut there is a whole backup or none: the file is synced, then renamed, then its folder synced."""
    to = tmp_path / "copy.db"
    steps: list[tuple[str, bool]] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        steps.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, to.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    assert back_up(Path(path), to) == Audit(0, 0, ())
    assert steps == [("copy.db.incomplete", False), (tmp_path.name, True)]


def test_the_copy_is_whole_by_itself(store: SqliteStore, path: str, tmp_path: Path) -> None:
    """No log belongs to it, so that it can be moved, and read where nothing can be written."""
    back_up(Path(path), tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_what_was_begun_is_taken_away_where_it_cannot_be_finished(
    store: SqliteStore, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left that could be taken for a backup, or that prevents the next."""

    def refused(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refused)
        with pytest.raises(BackupFailed, match=r"copy\.db: Operation not permitted"):
            back_up(Path(path), tmp_path / "copy.db")
    assert not [each for each in tmp_path.iterdir() if each.name.startswith("copy.db")]
    back_up(Path(path), tmp_path / "copy.db")
