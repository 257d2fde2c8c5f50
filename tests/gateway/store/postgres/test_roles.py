"""A role that may not change the schema: the grants of docs/operations.md are enough for a gateway, and for no more."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from adapters.contract import Certainty
from gateway.store import factory
from gateway.store.base import StoreUnavailable
from gateway.store.ceilings import Ceiling
from gateway.store.migration_files import Migration, SchemaVersions, migrations
from gateway.store.models import Applied, EventType, ProviderState
from gateway.store.postgres import PostgresStore
from gateway.store.postgres import migrations as postgres_migrations
from tests.gateway.store.postgres.inside import value
from tests.gateway.store.samples import (
    NOW,
    cash,
    deliver,
    event,
    exchange,
    failed,
    item,
    open_items,
    opened,
    outbound,
    posting,
    published_events,
    records,
    records_of,
    settled,
    target,
    unknown_close,
)
from tests.support.actors import ADA
from tests.support.postgres import PostgresServer

DOCUMENTED = Path(__file__).parents[4] / "docs" / "operations.md"
ROLES = count(1)


@dataclass(frozen=True, slots=True)
class Limited:
    """A migrated database, and a role on it with the documented grants."""

    owner_url: str
    url: str
    role: str
    grants: str


@pytest.fixture
async def limited(postgres: PostgresServer, postgres_url: str) -> AsyncIterator[Limited]:
    """A role that is removed again."""
    database, role = str(await value(postgres_url, "SELECT current_database()")), f"limited_{next(ROLES)}"
    sql = "".join(re.findall(r"```sql\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL))
    grants = sql.replace("DATABASE gateway", f"DATABASE {database}").replace("TO gateway", f"TO {role}")
    await value(postgres_url, f"CREATE ROLE {role} LOGIN")
    db = await asyncpg.connect(postgres_url)
    await db.execute(grants)
    await db.close()
    yield Limited(postgres_url, postgres_url.replace("gateway@", f"{role}@"), role, grants)
    await value(postgres_url, f"DROP OWNED BY {role}")
    await value(postgres_url, f"DROP ROLE {role}")


async def exercise(store: PostgresStore) -> None:
    """What a gateway does with its store."""
    await store.open()
    try:
        await store.remember_providers(frozenset({"acme"}))
        await store.ping()
        await store.ping()
        await opened(store)
        assert isinstance(await deliver(store, posting()), Applied)
        assert isinstance(
            await deliver(store, posting("promo", promo_amount=Decimal(1), promo_reference="p-1")), Applied
        )
        await deliver(store, posting("refused", user_id="nobody"))
        await opened(store, "nobody")
        await deliver(store, posting("refused", user_id="nobody"))
        await store.record_outcome(
            posting("theirs"), Applied("t-1", "EUR", Decimal(0), replayed=False), records(exchange()), NOW
        )
        await deliver(store, posting("open", currency="USD", user_id="nobody"))
        hourly = Ceiling(max_amount_per_h=Decimal(1000))
        for reference in ("counted", "counted too"):
            await store.apply(posting(reference), NOW, records_of(posting(reference)), hourly)
        for _ in range(2):
            assert await store.admit(posting("asked"), hourly, NOW) is None
        await store.record_outcome(
            posting("asked"), Applied("t-2", "EUR", Decimal(0), replayed=False), records(exchange()), NOW, limited=True
        )
        for request_id in ("one", "two", "three"):
            await store.begin_close(request_id, target(), NOW)
        await store.settle_close("one", settled(), outbound(request_id="one"), event(EventType.SESSION_CLOSED))
        await store.fail_close("two", failed(Certainty.UNKNOWN), outbound(request_id="two"), unknown_close("two"))
        assert await store.report_abandoned(timedelta(0), NOW) == 1
        await store.record_expiry(event(EventType.SESSION_EXPIRED), "id-1", exchange())
        await store.record_exchange(exchange(), item(reference="rejected"))
        for each in await open_items(store):
            await store.resolve_item(each.id, ADA, "seen", NOW)
        await store.change_provider_state("acme", ProviderState.DISABLED, ADA, "seen", NOW)
        await store.current_provider_states()
        await store.provider_state_changes()
        assert await store.trim_bodies(NOW + timedelta(days=1), 100) > 0
        assert await cash(store) > 0
        assert await store.find_close("one")
        assert await store.credit("acme", "theirs")
        assert len((await store.credits_of("player-1")).entries) == 7
        assert await store.exchanges()
        await store.refused_callbacks()
        await store.money_providers()
        await store.wallet_kinds()
        async with asyncio.timeout(10):
            assert len(await published_events(store)) > 3
        assert await store.discrepancies() == ()
    finally:
        await store.close()


async def test_a_gateway_works_with_the_documented_grants(limited: Limited) -> None:
    """All that a gateway does, and what `check`, `verify` and `migrate` read, needs no other privilege."""
    await exercise(PostgresStore(limited.url))
    assert await factory.stored_money_providers(limited.url) == {"acme"}
    assert await factory.stored_wallet_kinds(limited.url)
    assert (await factory.audit_kept(limited.url)).discrepancies == ()
    current = len(migrations("postgres"))
    assert await factory.migrate(limited.url) == SchemaVersions(current, current)


async def test_the_documented_grants_are_no_more_than_that(limited: Limited) -> None:
    """The role changes no table and no credit, deletes nothing, and every table of the schema is considered."""
    db = await asyncpg.connect(limited.url)
    try:
        tables = [row[0] for row in await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        for table in tables:
            assert await db.fetchval("SELECT has_table_privilege($1, 'SELECT')", table), table
            if table == "ceiling_admissions":  # its rows are removed when the wallet has answered
                continue
            for statement in ("DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}", "ALTER TABLE {} ADD COLUMN more text"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await db.execute(statement.format(table))
        for statement in (
            "UPDATE transactions SET amount = 0",
            "UPDATE wallet_credits SET amount = 0",
            "UPDATE provider_switches SET reason = ''",
            "INSERT INTO schema_migrations (version, breaks) VALUES (99, true)",
            "CREATE TABLE more (one text)",
            "CREATE SCHEMA more",
            "CREATE TEMPORARY TABLE more (one text)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await db.execute(statement)
    finally:
        await db.close()


async def test_a_schema_of_before_is_not_served(limited: Limited, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that may not migrate is refused with the command; after the owner ran it, the gateway starts."""
    known = migrations("postgres")
    later = (*known, Migration(len(known) + 1, "CREATE TABLE later (one text)"))
    monkeypatch.setattr(postgres_migrations, "migrations", lambda engine: later)
    store = PostgresStore(limited.url)
    says = rf"version {len(known)}, this release needs version {len(later)}, .*run `session-gateway migrate`"
    with pytest.raises(StoreUnavailable, match=says):
        await store.open()
    assert await factory.migrate(limited.owner_url) == SchemaVersions(len(known), len(later))
    await store.open()
    await store.close()


async def test_a_role_without_the_grants_is_refused(limited: Limited) -> None:
    """A privilege that is taken while a gateway runs is an error that names where they are listed."""
    store = PostgresStore(limited.url)
    await store.open()
    await value(limited.owner_url, f"REVOKE INSERT ON accounts FROM {limited.role}")
    with pytest.raises(StoreUnavailable, match=r"lacks a privilege.*docs/operations.md.*denied for table accounts"):
        await opened(store)
    await store.close()
