"""Connections to the server: how durable and how patient they are, and what their errors mean to a person."""

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

OLDEST_SERVER = 14
"""Its numerics have an Infinity that a check can name."""

CONNECT_S = 1.5
"""Seconds for a connection to be made: less than a provider waits for its answer."""

CLOSE_S = 1.0

_SETTINGS = {
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    # The server lets go of the locks of a gateway that froze, or that lost its network, before others give up on them.
    "idle_in_transaction_session_timeout": "2s",
    "statement_timeout": "2s",
    "lock_timeout": "1s",
    # Statements of a microsecond gain nothing from being compiled.
    "jit": "off",
}

READING = MappingProxyType({"plan_cache_mode": "force_custom_plan"})
"""A plan for each statement, by how large the tables are: one kept from when they were empty reads them whole."""

WRITING = MappingProxyType({**READING, "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"})
"""Few rows of large tables are looked up, by index, while accounts are locked."""

COMMITTING = MappingProxyType({**WRITING, "lock_timeout": "300ms"})
"""One held account must not hold up a whole batch, and what comes behind it, for long."""

PATIENT = MappingProxyType(
    {"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0", **READING}
)
"""For what may take minutes: a migration, a check of all books."""

_TYPES = "SELECT $1::numeric[], $2::timestamptz[], $3::bytea[], $4::integer[], $5::boolean[], $6::bigint[]"

_FORGETFUL = """
SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off'
"""
"""Settings with which the server acknowledges what a power cut may take back."""

_ONLY_READS = "the server only reads, as a standby does; name the primary in [store] url"

_ADVICE: tuple[tuple[type[BaseException], str], ...] = (
    (asyncpg.InvalidPasswordError, "the server refuses this user or this password; look at [store] url"),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "the server refuses this user; look at [store] url and pg_hba.conf",
    ),
    (asyncpg.InvalidCatalogNameError, "there is no such database; create it, or name another in [store] url"),
    (asyncpg.TooManyConnectionsError, "the server has no connection left; raise max_connections, or lower pool_size"),
    (asyncpg.CannotConnectNowError, "the server is starting or stopping; wait for it"),
    (asyncpg.InsufficientPrivilegeError, "the user may not do this; let it own its schema and create tables there"),
    (asyncpg.ReadOnlySQLTransactionError, _ONLY_READS),
    (asyncpg.TargetServerAttributeNotMatched, _ONLY_READS),
    (asyncpg.DiskFullError, "the server's disk is full; free some space there"),
    (asyncpg.LockNotAvailableError, "another session holds its rows locked; look for one that hangs"),
    (asyncpg.QueryCanceledError, "the server took too long; look at its load and its disk"),
    (TimeoutError, "the server does not answer in time; see that it runs and is not overloaded"),
    (socket.gaierror, "there is no such host; look at [store] url and the name server"),
    (ConnectionRefusedError, "nothing listens there; start the server, or name another host or port in [store] url"),
    (FileNotFoundError, "there is no socket; start the server, or name another folder in [store] url"),
    (OSError, "the server cannot be reached, or the connection to it broke; it is tried again with the next operation"),
    (asyncpg.PostgresConnectionError, "the connection to the server broke; it is made again with the next operation"),
    (asyncpg.OperatorInterventionError, "the server was told to stop, or to end the connection; wait for it"),
)

TROUBLES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""All that asyncpg raises. A connection that is cut off in the middle of an answer may be any of them."""

_OUTAGES = frozenset({"08", "0A", "25", "28", "3D", "40", "42", "53", "55", "57", "58", "F0", "XX"})
"""Classes of errors for which an operation is not at fault, but the server, its schema, or who else uses it."""


def is_outage(error: BaseException) -> bool:
    """Whether the database is at fault; the other errors of asyncpg (a broken constraint, a wrong call) are bugs."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _OUTAGES
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return not isinstance(error, ValueError)  # asyncpg's own word for an argument that does not fit
    return isinstance(error, OSError)  # TimeoutError is one


def is_broken(error: BaseException) -> bool:
    """Whether nothing more can be said on the connection."""
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    return isinstance(error, OSError | asyncpg.PostgresConnectionError | asyncpg.InternalClientError)


def is_contention(error: BaseException) -> bool:
    """Whether the same again may succeed: another transaction was in the way, and this one was rolled back whole."""
    return isinstance(error, asyncpg.SerializationError | asyncpg.DeadlockDetectedError)


def unavailable(address: Address, error: BaseException, *, unchanged: bool = True) -> StoreUnavailable:
    """What happened to which database, and what to do about it. A new error each time: each caller raises its own."""
    advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    if isinstance(error, asyncpg.PostgresError) and error.args:
        told = f" (PostgreSQL says: {error.args[0]})"  # without its details, which may be a player's data
    else:
        told = f" ({error})" if str(error) else ""
    failure = StoreUnavailable(
        f"database {address}: {advice or 'the operation could not be carried out; look at the server'}{told}",
        unchanged=unchanged,
    )
    failure.__cause__ = error
    return failure


def translate_error(address: Address, error: Exception) -> Exception:
    """What a caller learns of an error that changed nothing."""
    if isinstance(error, asyncpg.CharacterNotInRepertoireError) or isinstance(error.__cause__, UnicodeError):
        return ValueError("a key holds NUL or half a character: PostgreSQL has no place for them")
    return unavailable(address, error) if is_outage(error) else error


async def connect(address: Address, purpose: str, settings: Mapping[str, str], *, looks: bool = False) -> Connection:
    """A connection to a server that takes writes, or to any that `looks` at most. Raises StoreUnavailable.

    After a failover a name may lead to a standby for a while: a connection kept to it would go on failing, or reading
    what is old, long after the name leads to the primary.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            db: Connection = await asyncpg.connect(
                address.url,
                target_session_attrs=None if looks else SessionAttribute.read_write,
                server_settings={**_SETTINGS, **settings, "application_name": f"session-gateway {purpose}"},
            )
    except asyncpg.ClientConfigurationError:
        # Its text may hold any part of the url.
        raise StoreUnavailable(f"database {address}: [store] url has an option that does not fit") from None
    except TROUBLES as error:
        raise unavailable(address, error) from error
    if (version := db.get_server_version()).major < OLDEST_SERVER:
        await close(db)
        raise StoreUnavailable(
            f"database {address}: its server is PostgreSQL {version.major}, and this release needs {OLDEST_SERVER}"
        )
    return db


async def connect_committer(address: Address) -> Connection:
    """The connection that writes, with the types at hand that its statements take. Raises StoreUnavailable.

    Nothing is written by a server that would acknowledge it before it is durable.
    """
    db = await connect(address, "committer", COMMITTING)
    try:
        async with asyncio.timeout(CONNECT_S):
            # Else asyncpg asks the server for each in the middle of the first batch, while its accounts are locked.
            await db.fetch(_TYPES, [], [], [], [], [], [])
            await _refuse_forgetful(db, address)
    except TROUBLES as error:
        db.terminate()
        raise unavailable(address, error) from error
    except BaseException:
        db.terminate()
        raise
    return db


async def _refuse_forgetful(db: Connection, address: Address) -> None:
    """Where commits do not wait for the disk though we ask for it, something between drops our settings.

    A server whose administrator has switched its care off altogether, as for tests, is told of and written to.
    """
    off = [row["name"] for row in await db.fetch(_FORGETFUL)]
    if "synchronous_commit" in off:
        raise StoreUnavailable(
            f"database {address}: the server has synchronous_commit off, though the gateway sets it on, and would "
            "acknowledge credits that a power cut takes back; connect to PostgreSQL directly, without a proxy"
        )
    for name in off:
        log.warning(
            "the database does not survive a power cut: set it on, unless nothing in there is worth keeping",
            database=str(address),
            off=name,
        )


async def close(db: Connection) -> None:
    """Take leave of the server, or of a server that does not answer."""
    with suppress(*TROUBLES):
        await db.close(timeout=CLOSE_S)
