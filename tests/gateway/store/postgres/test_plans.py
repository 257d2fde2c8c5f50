"""Which statements do not grow with what is stored."""

import asyncpg

from bench.seed import Part, fill_postgres
from gateway.store.factory import stored_money_providers
from gateway.store.postgres.ledger import MONEY_PROVIDERS


async def test_a_start_does_not_read_through_all_references(postgres_url: str) -> None:
    """Also where most providers have none: with ten million it would take longer than a statement may."""
    await fill_postgres(postgres_url, Part(0, 5000))
    db = await asyncpg.connect(postgres_url)
    try:
        await db.execute("INSERT INTO providers (name) VALUES ('monaco'), ('without-1'), ('without-2')")
        plan = "\n".join(row[0] for row in await db.fetch(f"EXPLAIN {MONEY_PROVIDERS}"))
    finally:
        await db.close()
    assert "Seq Scan on transactions" not in plan
    assert await stored_money_providers(postgres_url) == {"monaco"}
