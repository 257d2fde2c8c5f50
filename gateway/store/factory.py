"""From `[store] url` to a store. Only the engine that the url names is loaded."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.store.audit import Audit
from gateway.store.base import Store, StoreUnavailable
from gateway.store.models import WalletKind

if TYPE_CHECKING:  # a store that nobody counts does without
    from gateway.telemetry.metrics import Metrics

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
        raise ValueError("a database in memory would forget money: write sqlite:/// and the path of a file")
    if "?" in path or "\0" in path:
        raise ValueError("a sqlite url takes no options, and its path no '?' and no NUL: write sqlite:/// and the path")
    return path


def describe(url: str) -> str:
    """The database that a url names, as messages and logs may call it: no user, and no password. Raises ValueError."""
    if _is_postgresql(url):
        from gateway.store.postgres import address

        return str(address.parse(url))
    return store_location(url)


def open_store(url: str, pool_size: int = 8, metrics: "Metrics | None" = None) -> Store:
    """The store that a url names; `await store.open()` connects it. Raises ValueError.

    `pool_size` bounds the connections to PostgreSQL; `metrics` are told of each commit.
    """
    if _is_postgresql(url):
        from gateway.store.postgres import PostgresStore

        return PostgresStore(url, pool_size, metrics)
    from gateway.store.sqlite import SqliteStore

    return SqliteStore(store_location(url), metrics=metrics)


async def stored_money_providers(url: str) -> frozenset[str]:
    """The names that are part of a money key in the store as it is, for `check`: nothing is made and nothing migrated.

    Empty where there is no store yet. Raises ValueError for the url, StoreUnavailable where no store can be made there,
    where its server cannot be reached, or where it is none of this release's.
    """
    if _is_postgresql(url):
        from gateway.store.postgres import inspect

        return await inspect.read_money_providers(url)
    return await asyncio.to_thread(_kept_in_file, Path(store_location(url)))


async def stored_wallet_kinds(url: str) -> frozenset[WalletKind]:
    """Who credited what a store holds, as it is. Raises as `money_providers_kept` does."""
    if _is_postgresql(url):
        from gateway.store.postgres import inspect

        return await inspect.read_creditors(url)
    return await asyncio.to_thread(_creditors_in_file, Path(store_location(url)))


async def audit_kept(url: str) -> Audit:
    """Whether the books of a store add up as they are, beside the gateways that may have it open.

    Raises ValueError for the url, StoreUnavailable where there are no books that this release reads.
    """
    if _is_postgresql(url):
        from gateway.store.postgres import inspect

        return await inspect.audit(url)
    from gateway.store.sqlite.inspect import audit_file

    return await asyncio.to_thread(audit_file, Path(store_location(url)))


def _kept_in_file(path: Path) -> frozenset[str]:
    if not path.absolute().parent.is_dir():
        raise StoreUnavailable(f"database {path}: its folder does not exist; make it, or name another")
    from gateway.store.sqlite.inspect import read_money_providers

    return read_money_providers(path) if path.exists() else frozenset()


def _creditors_in_file(path: Path) -> frozenset[WalletKind]:
    from gateway.store.sqlite.inspect import read_creditors

    return read_creditors(path) if path.exists() else frozenset()


def _is_postgresql(url: str) -> bool:
    return url.startswith(_POSTGRESQL)
