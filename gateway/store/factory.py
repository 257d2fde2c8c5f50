"""From `[store] url` to a store. Only the engine that the url names is imported.

`tls` holds the files of `[store] tls`. Functions that take it raise ValueError where it contradicts the url.
"""

import asyncio
from pathlib import Path

from gateway.store.audit import Audit
from gateway.store.base import Store, StoreUnavailable
from gateway.store.batching import CommitMetrics
from gateway.store.migration_files import SchemaVersions
from gateway.store.models import WalletKind
from gateway.store.postgres_url import Address, ClientTlsFiles, parse

_POSTGRESQL = ("postgresql://", "postgres://")

_EXAMPLES = "write sqlite:///gateway.db, or postgresql://user@host:port/database"


def store_location(url: str) -> str:
    """The file that a sqlite url names, without opening it: `sqlite:///x` is relative to the working folder,
    `sqlite:////x` absolute.

    Raises ValueError with what to write instead. The url itself is not repeated: another scheme's may hold a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme:
        raise ValueError(f"the store url has no scheme: {_EXAMPLES}")
    if scheme != "sqlite":
        raise ValueError(f"the store url is neither of SQLite nor of PostgreSQL: {_EXAMPLES}")
    if not rest.startswith("/"):
        raise ValueError("a sqlite url names a file and no host: write sqlite:/// (three slashes) and the path")
    path = rest[1:]
    if not path or path.endswith("/"):
        raise ValueError("the sqlite url names no file: write sqlite:///gateway.db")
    if path == ":memory:":
        raise ValueError("a database in memory loses money with the process: write sqlite:/// and the path of a file")
    if "?" in path or "\0" in path:
        raise ValueError("a sqlite url takes no options, and its path no '?' and no NUL: write sqlite:/// and the path")
    return path


def describe(url: str) -> str:
    """The database that a url names, for messages and logs: no user, and no password. Raises ValueError."""
    if _is_postgresql(url):
        return str(parse(url))
    return store_location(url)


def open_store(
    url: str, pool_size: int = 8, metrics: CommitMetrics | None = None, tls: ClientTlsFiles | None = None
) -> Store:
    """The store that a url names; `await store.open()` connects it. Raises ValueError.

    `pool_size` bounds the connections to PostgreSQL; `metrics` count each commit.
    """
    if _is_postgresql(url):
        from gateway.store.postgres import PostgresStore

        return PostgresStore(url, pool_size, metrics, tls)
    from gateway.store.sqlite import SqliteStore

    return SqliteStore(store_location(url), metrics=metrics)


async def stored_money_providers(url: str, tls: ClientTlsFiles | None = None) -> frozenset[str]:
    """The names that are part of a money key in the store as it is, for `check`: nothing is created or migrated.

    Empty where there is no store yet. Raises ValueError for the url, StoreUnavailable where no store can be created,
    where its server cannot be reached, or where this release cannot read it.
    """
    if _is_postgresql(url):
        from gateway.store.postgres import inspect

        return await inspect.read_money_providers(_address(url, tls))
    return await asyncio.to_thread(_money_providers_in_file, Path(store_location(url)))


async def stored_wallet_kinds(url: str, tls: ClientTlsFiles | None = None) -> frozenset[WalletKind]:
    """The wallets that credited what a store holds. Raises as `stored_money_providers` does."""
    if _is_postgresql(url):
        from gateway.store.postgres import inspect

        return await inspect.read_wallet_kinds(_address(url, tls))
    return await asyncio.to_thread(_wallet_kinds_in_file, Path(store_location(url)))


async def audit_kept(url: str, tls: ClientTlsFiles | None = None) -> Audit:
    """An audit of a store's books, while gateways may have it open.

    Raises ValueError for the url, StoreUnavailable where there are no books that this release can read.
    """
    if _is_postgresql(url):
        from gateway.store.postgres import inspect

        return await inspect.audit(_address(url, tls))
    from gateway.store.sqlite.inspect import audit_file

    return await asyncio.to_thread(audit_file, Path(store_location(url)))


async def migrate(url: str, tls: ClientTlsFiles | None = None) -> SchemaVersions:
    """Bring a store's schema to this release's, or make it. Raises ValueError for the url, and StoreUnavailable."""
    if _is_postgresql(url):
        from gateway.store.postgres.migrations import migrate_database

        return await migrate_database(_address(url, tls))
    from gateway.store.sqlite import SqliteStore
    from gateway.store.sqlite.inspect import schema_version

    path = store_location(url)
    before = await asyncio.to_thread(schema_version, Path(path))
    store = SqliteStore(path)
    await store.open()
    await store.close()
    return SchemaVersions(before, await asyncio.to_thread(schema_version, Path(path)))


def _money_providers_in_file(path: Path) -> frozenset[str]:
    if not path.absolute().parent.is_dir():
        raise StoreUnavailable(f"database {path}: its folder does not exist; make it, or name another")
    from gateway.store.sqlite.inspect import read_money_providers

    return read_money_providers(path)


def _wallet_kinds_in_file(path: Path) -> frozenset[WalletKind]:
    from gateway.store.sqlite.inspect import read_wallet_kinds

    return read_wallet_kinds(path) if path.exists() else frozenset()


def _address(url: str, tls: ClientTlsFiles | None) -> Address:
    return parse(url).with_tls(tls)


def _is_postgresql(url: str) -> bool:
    return url.startswith(_POSTGRESQL)
