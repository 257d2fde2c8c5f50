"""Restoring a copy: the database is the old one, or the copy, and never a mix, whenever the command is killed."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from gateway.store.base import StoreUnavailable
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.backup import back_up
from gateway.store.sqlite.restore import DoesNotBalance, RestoreFailed, restore
from tests.gateway.store.samples import cash, deliver, opened, posting
from tests.gateway.store.sqlite.test_companions import contents, killed

NOW = datetime(2026, 11, 30, 3, 15, 42, tzinfo=UTC)

COPY, OLD = Decimal("21.00"), Decimal("52.50")
"""What the account holds in the copy, and in the database that it is to replace."""

REFUSED = Decimal(-1)


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    """A database with five Results, whose gateway was killed; beside it a copy with the first two."""
    path = tmp_path / "gateway.db"
    store = SqliteStore(str(path))
    await store.open()
    await opened(store)
    for number in range(2):
        await deliver(store, posting(f"r{number}"))
    back_up(path, tmp_path / "copy.db")
    await store.close()
    await asyncio.to_thread(killed, path, 5)
    return path


async def held(path: Path) -> Decimal:
    """What the account holds once a gateway serves this database."""
    store = SqliteStore(str(path))
    await store.open()
    try:
        return await cash(store)
    finally:
        await store.close()


async def held_or_refused(path: Path) -> Decimal:
    """What the account holds; REFUSED where no gateway starts, and the error says to restore the copy again."""
    try:
        return await held(path)
    except StoreUnavailable as refused:
        assert "Run `session-gateway restore --from COPY`" in str(refused)  # noqa: PT017 - one of three ends
        return REFUSED


def aside(path: Path) -> Path:
    """The database that was moved aside."""
    (found,) = (each for each in path.parent.glob("gateway.db.replaced-*") if each.name.endswith("Z"))
    return found


async def test_the_copy_takes_the_place_and_nothing_is_lost(database: Path) -> None:
    """The copy serves; what was there is moved aside with its `-wal`, and can be restored in turn."""
    found, moved = restore(database, database.with_name("copy.db"), NOW)
    assert found.transactions == 2
    assert sorted(file.name for file in moved) == [
        f"gateway.db.replaced-20261130T031542.000000Z{end}" for end in ("", "-shm", "-wal")
    ]
    assert await held(database) == COPY
    found, _ = restore(database, aside(database), NOW.replace(hour=4))
    assert found.transactions == 5
    assert await held(database) == OLD


async def test_a_copy_is_put_where_there_is_no_database(tmp_path: Path, database: Path) -> None:
    """On a new machine there is nothing to move aside."""
    new = tmp_path / "new" / "gateway.db"
    new.parent.mkdir()
    assert restore(new, tmp_path / "copy.db", NOW)[1] == []
    assert await held(new) == COPY


async def test_a_copy_that_was_put_in_place_by_hand_is_restored(database: Path) -> None:
    """Beside the `-wal` of the database before it, it is refused, and the command does it right."""
    shutil.copyfile(database.with_name("copy.db"), database)
    with pytest.raises(StoreUnavailable, match=r"gateway\.db-wal beside it belongs to another"):
        await held(database)
    restore(database, database.with_name("copy.db"), NOW)
    assert await held(database) == COPY


class Killed(BaseException):
    """The process ends here."""


_STEPS = ((os, "link"), (os, "fsync"), (os, "chown"), (Path, "rename"), (Path, "unlink"))


@contextmanager
def killed_before(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that names or syncs a file is done from this step on."""
    steps = count()

    def until_then(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(steps) >= step:
                raise Killed
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        for owner, name in _STEPS:
            patched.setattr(owner, name, until_then(getattr(owner, name)))
        yield


async def test_killed_at_any_step_it_leaves_one_state_or_a_refusal(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old database whole, or the copy whole, or no start until the command is run again, which then succeeds."""
    first, copy = contents(database.parent), database.with_name("copy.db")
    seen = []
    ended = False
    for step in count():
        for started in (True, False):
            for file in database.parent.iterdir():
                file.unlink()
            for name, content in first.items():
                database.with_name(name).write_bytes(content)
            with suppress(Killed), killed_before(step, monkeypatch):
                restore(database, copy, NOW)
                ended = True
            if started:
                seen.append(await held_or_refused(database))
            restore(database, copy, NOW.replace(hour=4))
            assert await held(database) == COPY
            assert {file.stat().st_nlink for file in database.parent.glob("gateway.db.replaced-*Z")} == {1}
        if ended:
            break
    assert set(seen) == {OLD, REFUSED, COPY}
    assert len(seen) > 10


def damaged(copy: Path) -> None:
    """A page of it is not what SQLite wrote."""
    with closing(sqlite3.connect(copy)) as db:
        (size,) = db.execute("PRAGMA page_size").fetchone()
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events_of_user'").fetchone()
    with copy.open("r+b") as file:
        file.seek((page - 1) * size + size - 40)
        file.write(b"\x07" * 40)


def unsound(copy: Path) -> None:
    """Its books do not balance."""
    with closing(sqlite3.connect(copy)) as db, db:
        db.execute("UPDATE accounts SET cash = '9999'")


def newer(copy: Path) -> None:
    """A later release wrote it."""
    with closing(sqlite3.connect(copy)) as db, db:
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (damaged, (RestoreFailed, StoreUnavailable), "damaged"),
        (unsound, (DoesNotBalance,), "does not balance"),
        (newer, (StoreUnavailable,), "version 99"),
        (lambda copy: copy.write_bytes(b"no database"), (StoreUnavailable,), "not a SQLite database"),
        (lambda copy: copy.unlink(), (StoreUnavailable,), "no such file"),
        (lambda copy: copy.with_name("copy.db-wal").write_bytes(b"w" * 99), (StoreUnavailable,), "copy.db-wal beside"),
    ],
)
async def test_an_unfit_copy_is_not_restored(
    database: Path, spoil: Callable[[Path], object], error: tuple[type[Exception]], says: str
) -> None:
    """The database stays as it was, and no file is left behind."""
    spoil(database.with_name("copy.db"))
    before = contents(database.parent)
    with pytest.raises(error, match=says):
        restore(database, database.with_name("copy.db"), NOW)
    assert contents(database.parent) == before
    assert await held(database) == OLD


async def test_nothing_is_restored_beside_a_gateway(store: SqliteStore, path: str, tmp_path: Path) -> None:
    """While a gateway has the database open, or where the copy is the database, it is refused."""
    await opened(store)
    back_up(Path(path), tmp_path / "copy.db")
    with pytest.raises(StoreUnavailable, match="another gateway has it open"):
        restore(Path(path), tmp_path / "copy.db", NOW)
    with pytest.raises(RestoreFailed, match="is the database itself"):
        restore(Path(path), Path(path), NOW)
