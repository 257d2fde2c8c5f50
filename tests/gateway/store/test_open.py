"""From the configuration's url to a store."""

from pathlib import Path

import pytest

from gateway.store.interface import StoreUnavailable
from gateway.store.open import open_store, store_location


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///gateway.db", "gateway.db"),
        ("sqlite:///data/gateway 1%20#.db", "data/gateway 1%20#.db"),
        ("sqlite:////var/lib/gateway.db", "/var/lib/gateway.db"),
    ],
)
def test_a_sqlite_url_names_a_file(url: str, path: str) -> None:
    """Three slashes are relative to the working folder, four are absolute, and the path is taken as it is written."""
    assert store_location(url) == path


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("gateway.db", "no scheme"),
        ("", "no scheme"),
        ("://x", "no scheme"),
        ("postgresql://gateway:hunter2@db/gateway", "this release serves SQLite and not 'postgresql'"),
        ("SQLITE:///x", "not 'SQLITE'"),
        ("sqlite://gateway.db", "three slashes"),
        ("sqlite://", "three slashes"),
        ("sqlite:///", "names no file"),
        ("sqlite:///folder/", "names no file"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///gateway.db?mode=ro", "no options"),
        ("sqlite:///a\0b", "no NUL"),
    ],
)
def test_a_url_that_cannot_be_served_is_refused(url: str, says: str) -> None:
    """The message says what to write instead, and never repeats a password."""
    for read in (store_location, open_store):
        with pytest.raises(ValueError, match=says) as caught:
            read(url)
        assert "hunter2" not in str(caught.value)


async def test_a_relative_url_is_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file appears where the process was started."""
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///gateway.db")
    assert not (tmp_path / "gateway.db").exists()
    await store.open()
    assert (tmp_path / "gateway.db").exists()
    await store.close()


async def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    """Before `open` nothing is read or written, and closing is harmless."""
    store = open_store(f"sqlite:///{tmp_path}/gateway.db")
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.ping()
    await store.close()
