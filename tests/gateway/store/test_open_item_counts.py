"""The open items by provider and kind, for the metrics of each replica."""

import sqlite3
from contextlib import closing
from datetime import timedelta

import asyncpg

from gateway.store.base import Store
from gateway.store.postgres.items import OPEN_COUNTS as POSTGRES_COUNTS
from gateway.store.reconciliation import OpenItemCount, ReconciliationKind
from gateway.store.sqlite.items import OPEN_COUNTS as SQLITE_COUNTS
from tests.gateway.store.conftest import Database
from tests.gateway.store.samples import NOW, exchange, item
from tests.support.actors import ADA

REFUSED, UNKNOWN = ReconciliationKind.RESULT_REFUSED, ReconciliationKind.RESULT_UNKNOWN


async def test_open_items_are_counted(store: Store) -> None:
    """By provider and kind, with the time of the oldest; those that are resolved are not counted."""
    assert list(await store.open_item_counts()) == []
    later = NOW + timedelta(minutes=5)
    made = [
        item(reference="a", created_at=later),
        item(reference="b"),
        item(reference="c", kind=UNKNOWN, created_at=later),
        item(reference="d", provider="other"),
    ]
    for each in made:
        await store.record_exchange(exchange(), each)
    provider = made[0].provider
    assert sorted(await store.open_item_counts(), key=str) == sorted(
        [
            OpenItemCount(provider, REFUSED, 2, NOW),
            OpenItemCount(provider, UNKNOWN, 1, later),
            OpenItemCount("other", REFUSED, 1, NOW),
        ],
        key=str,
    )
    await store.resolve_item(made[1].id, ADA, "paid", later)
    await store.resolve_item(made[3].id, ADA, "paid", later)
    assert sorted(await store.open_item_counts(), key=str) == sorted(
        [OpenItemCount(provider, REFUSED, 1, later), OpenItemCount(provider, UNKNOWN, 1, later)], key=str
    )


async def test_resolved_items_cost_nothing(store: Store, database: Database) -> None:
    """With 100,000 resolved items the query reads the index of open ones alone."""
    columns = "id, provider, reference, fault, field, detail, user_id, created_at, exchange_id, resolved_at, resolution"
    if database.url.startswith("sqlite:"):
        with closing(sqlite3.connect(database.url.removeprefix("sqlite:///"), isolation_level=None)) as file:
            file.execute(
                f"""
                WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
                INSERT INTO reconciliation_items ({columns})
                SELECT 'i' || i, 'p', i, 'f', '', '', 'u', '2026-01-01', '', '2026-01-02', 'paid' FROM n
                """  # noqa: S608 - fixed names
            )
            plan = str(file.execute(f"EXPLAIN QUERY PLAN {SQLITE_COUNTS}").fetchall())
    else:
        db = await asyncpg.connect(database.url)
        await db.execute(
            f"""
            INSERT INTO reconciliation_items ({columns})
            SELECT 'i' || i, 'p', i, 'f', '', '', 'u', now(), '', now(), 'paid' FROM generate_series(1, 100000) i
            """  # noqa: S608 - fixed names
        )
        await db.execute("ANALYZE reconciliation_items")
        plan = str(await db.fetch(f"EXPLAIN {POSTGRES_COUNTS}"))
        await db.close()
    assert "reconciliation_items_open" in plan
    assert "Seq Scan" not in plan
    assert list(await store.open_item_counts()) == []
