"""A file, or a place, that does not fit is refused at the start and by `check`, in one sentence."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.store.base import StoreUnavailable
from gateway.store.factory import stored_money_providers
from gateway.store.sqlite import SqliteStore, connection, fitness
from gateway.store.sqlite.inspect import read_money_providers

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/root rw
30 22 0:26 / /mnt/with\\040blank rw shared:9 - nfs4 server:/export rw,vers=4.2
31 30 0:27 / /mnt/with\\040blank/local rw - xfs /dev/sdb rw
32 22 0:28 / /mnt/win rw - cifs //server/share rw
"""


async def refused(path: str, says: str) -> None:
    """A start and `check` say so."""
    with pytest.raises(StoreUnavailable, match=says) as caught:
        await SqliteStore(path).open()
    assert str(caught.value).startswith(f"database {path}: ")
    with pytest.raises(StoreUnavailable) as checked:
        await stored_money_providers(f"sqlite:///{path}")
    assert str(checked.value) == str(caught.value)


def tamper(path: str, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


async def made(path: str, *statements: str) -> None:
    """A gateway's database, then changed by hand."""
    store = SqliteStore(path)
    await store.open()
    await store.close()
    tamper(path, *statements)


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
async def test_only_utf8_has_the_order_of_keys(path: str, encoding: str) -> None:
    """A file of another encoding is refused although it is empty, with the command that makes one that fits."""
    tamper(path, f"PRAGMA encoding = '{encoding}'", "CREATE TABLE one (a)", "DROP TABLE one")
    await refused(path, rf"its encoding is {encoding}, .*sqlite3 OLD .dump \| sqlite3 NEW")


def content(path: str) -> bytes:
    return Path(path).read_bytes() if Path(path).exists() else b""


async def test_another_programs_database_is_left_alone(path: str) -> None:
    """A wrong file name does not add the gateway's tables to another program's."""
    tamper(path, "CREATE TABLE songs (a)", "PRAGMA user_version = 3")
    before = content(path)
    await refused(path, "it is another program's database, with the table songs; name a file of the gateway's")
    assert content(path) == before


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (["ALTER TABLE targets DROP COLUMN failure_detail"], "columns are missing or of another type: targets.failure"),
        (["DROP TABLE credited_windows"], "tables are missing: credited_windows;"),
        (
            ["DROP TABLE ceiling_admissions", "CREATE TABLE ceiling_admissions AS SELECT '' AS provider"],
            "of another type: ceiling_admissions.amount, ceiling_admissions.currency, ",
        ),
        (
            [
                "DROP TABLE expiries",
                "CREATE TABLE expiries (provider TEXT NOT NULL, provider_id TEXT NOT NULL, session_id TEXT NOT NULL)",
            ],
            "unique indexes are missing: expiries .provider, ",
        ),
    ],
    ids=["column", "table", "types", "key"],
)
async def test_a_schema_that_was_changed_by_hand(path: str, statements: list[str], says: str) -> None:
    """What the migrations made and is not there any more is named, before a player's Result needs it."""
    await made(path, *statements)
    await refused(path, rf"its schema is not what migration \d made, .*{says}")


async def test_what_a_newer_release_added_fits(path: str) -> None:
    """More tables, columns and indexes are no problem."""
    await made(
        path,
        "CREATE TABLE later (a)",
        "ALTER TABLE accounts ADD COLUMN later TEXT",
        "CREATE INDEX later_index ON events (provider)",
    )
    assert await stored_money_providers(f"sqlite:///{path}") == frozenset()
    store = SqliteStore(path)
    await store.open()
    await store.close()


async def test_an_old_library(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that lacks what the tables need is named with its version."""
    monkeypatch.setattr(fitness, "MIN_VERSION", (99, 1, 0))
    await refused(path, rf"SQLite library is {sqlite3.sqlite_version}, and this release needs 99\.1\.0 or newer")


async def test_a_network_drive(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that several hosts can mount is refused before a file is made there."""
    monkeypatch.setattr(
        fitness, "_mounts", lambda: f"22 1 8:1 / / rw - ext4 /dev/root rw\n9 9 0:1 / {Path(path).parent} rw - nfs4 a b"
    )
    await refused(path, "its file system is nfs4, which several hosts can mount")
    assert not content(path)


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/mnt/with blank/gateway", "nfs4"),
        ("/mnt/with blank/local", "xfs"),
        ("/mnt/win", "cifs"),
        ("/mnt/windows", "ext4"),
        ("/", "ext4"),
    ],
)
def test_the_file_system_of_a_folder(folder: str, kind: str) -> None:
    """The mount that is nearest above it, by whole names."""
    assert fitness.file_system(Path(folder), MOUNTS) == kind


def test_without_a_list_of_mounts_nothing_is_known() -> None:
    """Another system than Linux, or text that is not of that form."""
    assert fitness.file_system(Path("/mnt"), "") == fitness.file_system(Path("/mnt"), "one\ntwo - three\n") == ""


@contextmanager
def as_another_user() -> Iterator[Path]:
    """A folder that is not this process's user's, who has no other rights than any user."""
    folder = Path(tempfile.mkdtemp(prefix="fitness-"))
    folder.chmod(0o555)
    if os.geteuid() != 0:
        yield folder
        folder.chmod(0o755)
    else:
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)
    shutil.rmtree(folder)


def test_a_folder_that_cannot_be_written() -> None:
    """SQLite puts its log beside the file, so the folder's rights count, and those of the file."""
    with as_another_user() as folder:
        (problem,) = fitness.place_problems(str(folder / "gateway.db"))
    assert problem.startswith("the gateway's user may not write its folder, where SQLite puts its log")


def test_a_file_that_cannot_be_written(path: str) -> None:
    """A file that may only be read."""
    with as_another_user():
        (problem, *_) = fitness.place_problems("/etc/hostname")
    assert problem.startswith("the gateway's user may not write it")


async def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    """A pipe, on which SQLite would wait, a folder, and a name that no file can have."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ""):
        with pytest.raises(StoreUnavailable, match="it is not a file"):
            read_money_providers(tmp_path / name)
    with pytest.raises(StoreUnavailable, match="File name too long"):
        read_money_providers(tmp_path / ("x" * 300))


async def test_synchronous_is_read_back(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that does not set FULL is not written to: a commit that it acknowledges could be lost."""
    monkeypatch.setattr(connection, "_FULL", 3)
    with pytest.raises(StoreUnavailable, match="SQLite's synchronous is 2, though the gateway sets 3"):
        await SqliteStore(path).open()
