"""A store on PostgreSQL, with its inside at hand."""

from collections.abc import AsyncIterator

import pytest

from gateway.store.postgres import PostgresStore


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    """An open store on a separate empty database."""
    store = PostgresStore(postgres_url)
    await store.open()
    yield store
    await store.close()
