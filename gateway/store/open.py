"""From `[store] url` to a store."""

from pathlib import Path

from gateway.store.interface import Store, StoreUnavailable
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.inspect import read_money_providers


def store_location(url: str) -> str:
    """The file that a store url names, without opening it: `sqlite:///x` is relative to the working folder,
    `sqlite:////x` absolute.

    Raises ValueError with what to write instead. The url itself is not repeated: another scheme's may hold a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme:
        raise ValueError("the store url has no scheme: write sqlite:///gateway.db, or sqlite:////var/lib/gateway.db")
    if scheme != "sqlite":
        raise ValueError(f"this release serves SQLite and not {scheme!r}: write sqlite:///gateway.db")
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


def open_store(url: str) -> Store:
    """The store that a url names; `await store.open()` connects it. Raises ValueError."""
    return SqliteStore(store_location(url))


def money_providers_kept(url: str) -> frozenset[str]:
    """The names that are part of a money key in the store as it is, for `check`: nothing is made and nothing migrated.

    Empty where there is no store yet. Raises ValueError for the url, StoreUnavailable where no store can be made there,
    or where the file is none of this release's.
    """
    path = Path(store_location(url))
    if not path.absolute().parent.is_dir():
        raise StoreUnavailable(f"database {path}: its folder does not exist; make it, or name another")
    return read_money_providers(path) if path.exists() else frozenset()
