"""Whether a database and its role are fit for a gateway: asked at the start and by `check`."""

from collections import defaultdict
from types import MappingProxyType

from gateway.store.base import StoreUnavailable
from gateway.store.postgres.connection import Connection
from gateway.store.postgres_url import Address

RIGHTS = MappingProxyType(
    {
        **dict.fromkeys(("schema_migrations",), ("SELECT",)),
        **dict.fromkeys(("sequencer",), ("SELECT", "UPDATE")),
        **dict.fromkeys(
            ("closures", "expiries", "provider_switches", "providers", "transactions", "wallet_credits"),
            ("SELECT", "INSERT"),
        ),
        **dict.fromkeys(
            ("accounts", "credited_windows", "events", "exchanges", "pings", "reconciliation_items", "targets"),
            ("SELECT", "INSERT", "UPDATE"),
        ),
        "ceiling_admissions": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    }
)
"""What a gateway's role must be granted on each table, as docs/operations.md says."""

_MISSING = """
SELECT name, privilege, to_regclass(quote_ident(name)) IS NULL AS absent
FROM unnest($1::text[], $2::text[]) AS needed (name, privilege)
WHERE to_regclass(quote_ident(name)) IS NULL OR NOT has_table_privilege(to_regclass(quote_ident(name)), privilege)
"""

_MAY_MIGRATE = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"


async def refuse_encoding(db: Connection, address: Address) -> None:
    """Raise StoreUnavailable where the database cannot hold every name."""
    encoding = await db.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise StoreUnavailable(
            f"database {address}: its encoding is {encoding}, which does not have the letters of every name: create "
            "one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and name it in [store] url"
        )


async def refuse_without_rights(db: Connection, address: Address, *, is_current: bool) -> None:
    """Raise StoreUnavailable where the role lacks a right in a database that was migrated, or a table is missing.

    Where the schema is not current, the next start makes the tables that this release adds.
    """
    needed = [(name, privilege) for name, privileges in RIGHTS.items() for privilege in privileges]
    names, privileges = zip(*needed, strict=True)
    lacking: dict[str, list[str]] = defaultdict(list)
    for name, privilege, absent in await db.fetch(_MISSING, names, privileges):
        if not absent:
            lacking[privilege].append(name)
        elif is_current:
            raise StoreUnavailable(
                f"database {address}: its table {name} is missing, though its schema is current: was it removed by "
                "hand, or is search_path another? Restore a backup, or write the schema into [store] url"
            )
    if lacking:
        role = await db.fetchval("SELECT current_user")
        grants = (f"GRANT {privilege} ON {', '.join(tables)} TO {role}" for privilege, tables in lacking.items())
        raise StoreUnavailable(
            f"database {address}: the role {role} lacks rights: as the owner of the tables, {'; '.join(grants)}"
        )


async def refuse_without_schema(db: Connection, address: Address) -> None:
    """Raise StoreUnavailable where the role could not make the tables of an empty database."""
    if not await db.fetchval(_MAY_MIGRATE):
        raise StoreUnavailable(
            f"database {address}: it has no tables, and the role may not make them: run `session-gateway migrate` with "
            "the owner's role, then grant what docs/operations.md says"
        )
