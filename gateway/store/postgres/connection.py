"""Connections to the server: their durability and timeouts, and what an operator can do about their errors."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING

import asyncpg
import structlog
from asyncpg.connect_utils import SessionAttribute

from gateway.store.base import StoreUnavailable
from gateway.store.postgres.address import Address

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection  # only its stubs are generic

log = structlog.get_logger(__name__)

MIN_SERVER_VERSION = 14
"""Its numerics have an Infinity, which a CHECK can exclude."""

CONNECT_TIMEOUT_S = 1.5
"""Seconds to connect: less than a provider waits for its answer."""

CLOSE_TIMEOUT_S = 1.0

_SETTINGS = {
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    # The server releases the locks of a gateway that froze, or that lost its network, before others time out on them.
    "idle_in_transaction_session_timeout": "2s",
    "statement_timeout": "2s",
    "lock_timeout": "1s",
    # Short statements gain nothing from being compiled.
    "jit": "off",
}

READING = MappingProxyType({"plan_cache_mode": "force_custom_plan"})
"""A plan for each statement, by the size of the tables: one cached while they were empty would scan them."""

WRITING = MappingProxyType({**READING, "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"})
"""Few rows of large tables are looked up, by index, while accounts are locked."""

COMMITTING = MappingProxyType({**WRITING, "lock_timeout": "300ms"})
"""One locked account must not delay a whole batch, and the batches after it, for long."""

UNBOUNDED = MappingProxyType(
    {"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0", **READING}
)
"""For what may take minutes: a migration, an audit."""

_TYPES = "SELECT $1::numeric[], $2::timestamptz[], $3::bytea[], $4::integer[], $5::boolean[], $6::bigint[]"

_DURABILITY_OFF = """
SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off'
"""
"""Settings with which the server may lose in a power failure what it acknowledged."""

_READ_ONLY = "the server only reads, as a standby does; name the primary in [store] url"

_ADVICE: tuple[tuple[type[BaseException], str], ...] = (
    (asyncpg.InvalidPasswordError, "the server refuses this user or this password; check [store] url"),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "the server refuses this user; check [store] url and pg_hba.conf",
    ),
    (asyncpg.InvalidCatalogNameError, "there is no such database; create it, or name another in [store] url"),
    (asyncpg.TooManyConnectionsError, "the server has no connection left; raise max_connections, or lower pool_size"),
    (asyncpg.CannotConnectNowError, "the server is starting or stopping; wait for it"),
    (asyncpg.InsufficientPrivilegeError, "the user may not do this; it must own its schema and may then create tables"),
    (asyncpg.ReadOnlySQLTransactionError, _READ_ONLY),
    (asyncpg.TargetServerAttributeNotMatched, _READ_ONLY),
    (asyncpg.DiskFullError, "the server's disk is full; free some space there"),
    (asyncpg.LockNotAvailableError, "another session holds its rows locked; find the one that hangs"),
    (asyncpg.QueryCanceledError, "the server took too long; check its load and its disk"),
    (TimeoutError, "the server does not answer in time; see that it runs and is not overloaded"),
    (socket.gaierror, "there is no such host; check [store] url and the name server"),
    (ConnectionRefusedError, "nothing listens there; start the server, or name another host or port in [store] url"),
    (FileNotFoundError, "there is no socket; start the server, or name another folder in [store] url"),
    (OSError, "the server cannot be reached, or the connection to it broke; the next operation connects again"),
    (asyncpg.PostgresConnectionError, "the connection to the server broke; the next operation connects again"),
    (asyncpg.OperatorInterventionError, "an administrator stopped the server, or ended the connection; wait for it"),
)

DRIVER_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""All that asyncpg raises. A connection that breaks in the middle of an answer may raise any of them."""

_OUTAGES = frozenset({"08", "0A", "25", "28", "3D", "40", "42", "53", "55", "57", "58", "F0", "XX"})
"""Classes of errors whose cause is not the operation, but the server, its schema, or another client."""


def is_outage(error: BaseException) -> bool:
    """Whether the database is at fault; the other errors of asyncpg (a broken constraint, a wrong call) are bugs."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _OUTAGES
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return not isinstance(error, ValueError)  # asyncpg raises it for an argument of a wrong type
    return isinstance(error, OSError)  # TimeoutError is one


def is_broken(error: BaseException) -> bool:
    """Whether the connection cannot be used any more."""
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    return isinstance(error, OSError | asyncpg.PostgresConnectionError | asyncpg.InternalClientError)


def is_contention(error: BaseException) -> bool:
    """Whether a retry may succeed: another transaction was in the way, and this one was rolled back."""
    return isinstance(error, asyncpg.SerializationError | asyncpg.DeadlockDetectedError)


def unavailable(address: Address, error: BaseException, *, unchanged: bool = True) -> StoreUnavailable:
    """What happened to which database, and what to do about it. A new error each time: each caller raises its own."""
    advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    if isinstance(error, asyncpg.PostgresError) and error.args:
        text = f" (PostgreSQL says: {error.args[0]})"  # without its details, which may be a player's data
    else:
        text = f" ({error})" if str(error) else ""
    failure = StoreUnavailable(
        f"database {address}: {advice or 'the operation could not be executed; check the server'}{text}",
        unchanged=unchanged,
    )
    failure.__cause__ = error
    return failure


def translate_error(address: Address, error: Exception) -> Exception:
    """The error to raise at the caller for one that changed nothing."""
    if isinstance(error, asyncpg.CharacterNotInRepertoireError) or isinstance(error.__cause__, UnicodeError):
        return ValueError("a key has NUL or a lone surrogate, which PostgreSQL cannot store")
    return unavailable(address, error) if is_outage(error) else error


async def connect(
    address: Address, purpose: str, settings: Mapping[str, str], *, read_only: bool = False
) -> Connection:
    """A connection to a server that accepts writes, or to any server where `read_only`. Raises StoreUnavailable.

    After a failover a name may resolve to a standby for a while: a connection kept to it would continue to fail, or to
    read old data, long after the name resolves to the primary.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            db: Connection = await asyncpg.connect(
                address.url,
                target_session_attrs=None if read_only else SessionAttribute.read_write,
                server_settings={**_SETTINGS, **settings, "application_name": f"session-gateway {purpose}"},
            )
    except asyncpg.ClientConfigurationError:
        # Its text may hold any part of the url.
        raise StoreUnavailable(f"database {address}: [store] url has an option that does not fit") from None
    except DRIVER_ERRORS as error:
        raise unavailable(address, error) from error
    if (version := db.get_server_version()).major < MIN_SERVER_VERSION:
        await close(db)
        raise StoreUnavailable(
            f"database {address}: its server is PostgreSQL {version.major}, and this release needs {MIN_SERVER_VERSION}"
        )
    return db


async def connect_committer(address: Address) -> Connection:
    """The connection that writes, with the types of its statements loaded. Raises StoreUnavailable.

    It is refused where the server would acknowledge a commit before it is durable.
    """
    db = await connect(address, "committer", COMMITTING)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            # Else asyncpg asks the server for each in the middle of the first batch, while its accounts are locked.
            await db.fetch(_TYPES, [], [], [], [], [], [])
            await _refuse_without_durability(db, address)
    except DRIVER_ERRORS as error:
        db.terminate()
        raise unavailable(address, error) from error
    except BaseException:
        db.terminate()
        raise
    return db


async def _refuse_without_durability(db: Connection, address: Address) -> None:
    """Raise StoreUnavailable where commits do not wait for the disk though we ask for it: a proxy drops our settings.

    A server whose administrator has switched fsync off, as for tests, is logged and used.
    """
    off = [row["name"] for row in await db.fetch(_DURABILITY_OFF)]
    if "synchronous_commit" in off:
        raise StoreUnavailable(
            f"database {address}: the server has synchronous_commit off, though the gateway sets it on, and could "
            "lose acknowledged credits in a power failure; connect to PostgreSQL directly, without a proxy"
        )
    for name in off:
        log.warning(
            "the database does not survive a power failure: switch the setting on, unless its data is of no value",
            database=str(address),
            setting=name,
        )


async def close(db: Connection) -> None:
    """Disconnect, also from a server that does not answer."""
    with suppress(*DRIVER_ERRORS):
        await db.close(timeout=CLOSE_TIMEOUT_S)
