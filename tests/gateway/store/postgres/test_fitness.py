"""An unfit database is refused at the start and by `check`, and not at the first player with an accent."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.store.base import StoreUnavailable
from gateway.store.factory import stored_money_providers
from gateway.store.postgres import PostgresStore
from gateway.store.postgres.fitness import RIGHTS
from tests.gateway.store.postgres.inside import committer, value
from tests.support.postgres import PostgresServer

DOCUMENTED = Path(__file__).parents[4] / "docs" / "operations.md"


async def both_refuse(url: str, says: str) -> None:
    """`serve` and `check` say the same."""
    looks: tuple[Callable[[], Awaitable[object]], ...] = (PostgresStore(url).open, lambda: stored_money_providers(url))
    for look in looks:
        with pytest.raises(StoreUnavailable, match=says):
            await look()


@pytest.fixture
async def used_url(postgres_url: str) -> str:
    """A database that a gateway has opened."""
    store = PostgresStore(postgres_url)
    await store.open()
    await store.close()
    return postgres_url


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "WIN1252"])
async def test_another_encoding_is_refused(postgres: PostgresServer, encoding: str) -> None:
    """A database that does not have every letter, or does not know which it has; and nothing is made in it."""
    name = f"unfit_{encoding.lower()}"
    create = f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    await value(postgres.url("postgres"), create)
    await both_refuse(postgres.url(name), f"its encoding is {encoding}.*ENCODING 'UTF8'")
    assert await value(postgres.url(name), "SELECT count(*) FROM pg_class WHERE relname = 'accounts'") == 0


@pytest.mark.parametrize(
    ("table", "privilege"), [("accounts", "UPDATE"), ("transactions", "INSERT"), ("events", "SELECT")]
)
async def test_a_missing_right_is_named(postgres_url: str, used_url: str, table: str, privilege: str) -> None:
    """With the statement that grants it, whichever it is."""
    role = f"lacking_{table}"
    await value(used_url, f"CREATE ROLE {role} LOGIN")
    try:
        for name, rights in RIGHTS.items():
            granted = [right for right in rights if (name, right) != (table, privilege)]
            await value(used_url, f"GRANT {', '.join(granted)} ON {name} TO {role}")
        url = used_url.replace("gateway@", f"{role}@")
        await both_refuse(url, f"the role {role} lacks rights: .*GRANT {privilege} ON {table} TO {role}$")
        await value(used_url, f"GRANT {privilege} ON {table} TO {role}")
        assert await stored_money_providers(url) == frozenset()
    finally:
        await value(used_url, f"DROP OWNED BY {role}")
        await value(used_url, f"DROP ROLE {role}")


async def test_a_role_that_could_not_make_the_tables_is_refused(postgres: PostgresServer) -> None:
    """In an empty database `check` says what `serve` would."""
    url = postgres.url(await postgres.create())
    await value(url, "CREATE ROLE lacking_all LOGIN")
    try:
        await both_refuse(url.replace("gateway@", "lacking_all@"), "session-gateway migrate")
    finally:
        await value(url, "DROP ROLE lacking_all")


async def test_tables_of_this_release_may_be_missing_before_the_upgrade(used_url: str) -> None:
    """`check` accepts a database of the release before: the next start migrates it."""
    await value(used_url, "DROP TABLE ceiling_admissions")
    await value(used_url, "DELETE FROM schema_migrations WHERE version > 1")
    assert await stored_money_providers(used_url) == frozenset()


async def test_a_missing_table_is_named(used_url: str) -> None:
    """Somebody removed it by hand."""
    await value(used_url, "DROP TABLE pings")
    await both_refuse(used_url, "its table pings is missing")


async def test_settings_of_the_database_that_would_not_fit_are_overruled(used_url: str) -> None:
    """Time zone, isolation and durability are the session's own, whatever the database's defaults are."""
    name = await value(used_url, "SELECT current_database()")
    for setting in (
        "timezone = 'Asia/Kathmandu'",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "synchronous_commit = off",
    ):
        await value(used_url, f"ALTER DATABASE {name} SET {setting}")
    store = PostgresStore(used_url)
    await store.open()
    db = committer(store)._db
    assert db is not None
    shown = [await db.fetchval(f"SHOW {each}") for each in ("timezone", "transaction_isolation", "synchronous_commit")]
    assert shown == ["UTC", "read committed", "on"]
    await store.close()


def test_the_rights_are_those_that_are_documented() -> None:
    """What is checked is what an operator is asked to grant."""
    sql = "".join(re.findall(r"```sql\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL))
    documented: dict[str, set[str]] = {}
    for privileges, tables in re.findall(r"GRANT ([A-Z, ]+) ON\s+((?!DATABASE|SCHEMA)[a-z_,\s]+?)\s*TO gateway", sql):
        for table in re.split(r",\s*", tables.strip()):
            documented.setdefault(table, set()).update(privileges.split(", "))
    assert documented == {table: set(rights) for table, rights in RIGHTS.items()}
