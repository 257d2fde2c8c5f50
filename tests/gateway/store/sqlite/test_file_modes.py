"""The database's files are for their owner alone."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import connect

import pytest
from structlog.testing import capture_logs

from gateway.store.sqlite import SqliteStore, connection
from gateway.store.sqlite.backup import back_up

FILES = ("gateway.db", "gateway.db-shm", "gateway.db-wal", "gateway.db.lock")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in sorted(folder.iterdir())}


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o177])
async def test_new_files_are_private(tmp_path: Path, mask: int) -> None:
    """Database, log, shared memory, lock and backup have mode 0600, whatever the umask leaves to others."""
    with umask(mask):
        store = SqliteStore(str(tmp_path / "gateway.db"))
        with capture_logs() as lines:
            await store.open()
        assert lines == []  # no mode had to be changed
        await store.ping()
        assert modes(tmp_path) == dict.fromkeys(FILES, 0o600)
        back_up(tmp_path / "gateway.db", tmp_path / "copy.db")
        await store.close()
    assert set(modes(tmp_path).values()) == {0o600}


async def test_the_database_is_private_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When SQLite opens the file, nobody else can read it: also where an empty file was there, or a link to no file."""
    seen: list[int] = []

    def observed(db: object, path: str) -> None:
        seen.append(stat.S_IMODE(Path(path).stat().st_mode))

    monkeypatch.setattr(connection, "_prepare_writer", observed)
    (tmp_path / "empty.db").touch(0o644)
    (tmp_path / "link.db").symlink_to(tmp_path / "elsewhere.db")
    with umask(0):
        for name in ("new.db", "empty.db", "link.db"):
            connection.connect_writer(str(tmp_path / name), 1).close()
    assert seen == [0o600] * 3


async def test_older_files_become_private(tmp_path: Path) -> None:
    """Files that others can read lose that at the next open, with a log line for each."""
    path = tmp_path / "gateway.db"
    store = SqliteStore(str(path))
    await store.open()
    for name in FILES:
        (tmp_path / name).chmod(0o664)
    with closing(connect(path)) as reader:  # keeps -wal and -shm at the close
        reader.execute("SELECT * FROM pings").fetchall()
        await store.close()
        with capture_logs() as lines:
            await store.open()
        assert modes(tmp_path) == dict.fromkeys(FILES, 0o600)
    assert [line["event"] for line in lines] == ["file made private"] * 4
    assert {Path(line["file"]).name for line in lines} == set(FILES)
    await store.close()


async def test_a_mode_that_cannot_be_changed_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of another user is served all the same, and the log names the file."""
    path = tmp_path / "gateway.db"
    store = SqliteStore(str(path))
    await store.open()
    await store.close()
    path.chmod(0o644)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refused)
    with capture_logs() as lines:
        await store.open()
    await store.close()
    warnings = {line["file"]: line["mode"] for line in lines if line["log_level"] == "warning"}
    assert warnings[str(path)] == "0644"


async def test_another_programs_file_is_left_as_it_is(tmp_path: Path) -> None:
    """A url that names a file which is no database changes nothing about it."""
    path = tmp_path / "notes.txt"
    path.write_text("these are not the rows that you look for\n" * 100)
    path.chmod(0o644)
    with pytest.raises(Exception, match="not a SQLite database"):
        await SqliteStore(str(path)).open()
    assert modes(tmp_path)["notes.txt"] == 0o644
