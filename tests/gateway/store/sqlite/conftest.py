"""A store on SQLite, with its inside at hand."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the database is, or will be."""
    return str(tmp_path / "gateway.db")


@pytest.fixture
async def store(path: str) -> AsyncIterator[SqliteStore]:
    """An open store that does not wait long for another's lock."""
    store = SqliteStore(path, busy_seconds=0.05)
    await store.open()
    yield store
    await store.close()
