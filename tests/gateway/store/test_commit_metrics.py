"""Each commit is counted, with how much it carried: the first thing to look at when writes are slow."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.store.base import Store, StoreUnavailable
from gateway.store.factory import open_store
from gateway.telemetry.metrics import Metrics
from tests.gateway.store.conftest import Database
from tests.gateway.store.samples import NOW
from tests.support.actors import ADA
from tests.support.gateway import locked


@pytest.fixture
def metrics() -> Metrics:
    """Those of the store under test."""
    return Metrics()


@pytest.fixture
async def store(database: Database, metrics: Metrics) -> AsyncIterator[Store]:
    """An open store that counts its commits."""
    store = open_store(database.url, metrics=metrics)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def engine(database: Database) -> str:
    """Its name in the metrics."""
    return "sqlite" if database.url.startswith("sqlite:") else "postgresql"


def counted(metrics: Metrics, name: str, engine: str) -> float:
    """The value of a series of this engine; 0 where there is none yet."""
    families = text_string_to_metric_families(metrics.render()[0].decode())
    samples = (sample for family in families for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == name and sample.labels == {"engine": engine})


async def test_what_is_committed_together_is_one_commit_of_that_size(
    store: Store, metrics: Metrics, engine: str
) -> None:
    """Each operation is counted once, and the commits are fewer than they."""
    before = counted(metrics, "session_gateway_commit_operations_sum", engine)
    commits = counted(metrics, "session_gateway_commit_duration_seconds_count", engine)
    await asyncio.gather(*(store.open_account(f"player-{n}", "EUR", Decimal(0), NOW) for n in range(50)))
    assert counted(metrics, "session_gateway_commit_operations_sum", engine) == before + 50
    made = counted(metrics, "session_gateway_commit_duration_seconds_count", engine) - commits
    assert 1 <= made < 50
    assert counted(metrics, "session_gateway_commit_operations_count", engine) == commits + made
    assert counted(metrics, "session_gateway_commit_duration_seconds_sum", engine) > 0


async def test_a_refused_operation_is_no_failed_commit(store: Store, metrics: Metrics, engine: str) -> None:
    """It fails alone: the others are committed."""
    with pytest.raises(LookupError):
        await store.resolve_item("no-item", ADA, "to see", NOW)
    await store.ping()
    assert counted(metrics, "session_gateway_commit_failures_total", engine) == 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_commit_that_the_database_does_not_take_is_counted_as_failed(
    store: Store, metrics: Metrics, engine: str, tmp_path: Path
) -> None:
    """And not among the commits."""
    await store.ping()
    commits = counted(metrics, "session_gateway_commit_duration_seconds_count", engine)
    with locked(tmp_path / "gateway.db"), pytest.raises(StoreUnavailable):
        await store.ping()
    assert counted(metrics, "session_gateway_commit_failures_total", engine) == 1
    assert counted(metrics, "session_gateway_commit_duration_seconds_count", engine) == commits
