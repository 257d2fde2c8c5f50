"""The store under test: the behavioural suite runs once for each engine in `database`'s params."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.store.interface import Store
from gateway.store.open import open_store


@dataclass(frozen=True, slots=True)
class Database:
    """One empty database. Called, it answers another store on it, not yet open."""

    url: str

    def __call__(self) -> Store:
        return open_store(self.url)


@pytest.fixture(params=["sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database of the engine under test."""
    urls = {"sqlite": f"sqlite:///{tmp_path / 'gateway.db'}"}
    return Database(urls[request.param])


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    """An open store on an empty database."""
    store = database()
    await store.open()
    yield store
    await store.close()
