"""Connections to the server: their durability and timeouts, and what an operator can do about their errors."""

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING

import asyncpg
import structlog
from asyncpg.connect_utils import SessionAttribute

from gateway.store.base import StoreUnavailable
from gateway.store.postgres.tls import client_context
from gateway.store.postgres_url import Address, Host, SslMode

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection  # only its stubs are generic

log = structlog.get_logger(__name__)

MIN_SERVER_VERSION = 14
"""Its numerics have an Infinity, which a CHECK can exclude."""

CONNECT_TIMEOUT_S = 1.5
"""Seconds to connect, whichever of its hosts answers: less than a provider waits for its answer."""

CLOSE_TIMEOUT_S = 1.0

_SETTINGS = {
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "timezone": "UTC",
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
        "the server refuses this user; check [store] url, the certificate in [store] tls, and pg_hba.conf",
    ),
    (asyncpg.InvalidCatalogNameError, "there is no such database; create it, or name another in [store] url"),
    (asyncpg.TooManyConnectionsError, "the server has no connection left; raise max_connections, or lower pool_size"),
    (asyncpg.CannotConnectNowError, "the server is starting or stopping; wait for it"),
    (
        asyncpg.InsufficientPrivilegeError,
        "the user lacks a privilege; grant those that docs/operations.md lists, as the owner of the tables",
    ),
    (asyncpg.ReadOnlySQLTransactionError, _READ_ONLY),
    (asyncpg.TargetServerAttributeNotMatched, _READ_ONLY),
    (asyncpg.DiskFullError, "the server's disk is full; free some space there"),
    (asyncpg.LockNotAvailableError, "another session holds its rows locked; find the one that hangs"),
    (asyncpg.QueryCanceledError, "the server took too long; check its load and its disk"),
    (TimeoutError, "the server does not answer in time; see that it runs and is not overloaded"),
    (
        ssl.SSLCertVerificationError,
        "the server's certificate is of no authority that is trusted; name the authority's in [store] tls, as ca",
    ),
    (ssl.SSLError, "TLS with the server failed; check [store] tls, and the server's log and certificate"),
    (socket.gaierror, "there is no such host; check [store] url and the name server"),
    (ConnectionRefusedError, "nothing listens there; start the server, or name another host or port in [store] url"),
    (FileNotFoundError, "there is no socket; start the server, or name another folder in [store] url"),
    (OSError, "the server cannot be reached, or the connection to it broke; the next operation connects again"),
    (asyncpg.PostgresConnectionError, "the connection to the server broke; the next operation connects again"),
    (asyncpg.OperatorInterventionError, "an administrator stopped the server, or ended the connection; wait for it"),
)

_CERTIFICATE_ADVICE = MappingProxyType(
    {
        9: "the server's certificate is not valid yet; check the clocks of both hosts",
        10: "the server's certificate has expired; renew it there",
        62: "the server's certificate is for another name; write the name that it has in [store] url",
        64: "the server's certificate is for another address; write the name that it has in [store] url",
    }
)
"""By OpenSSL's number of what is wrong with a certificate (X509_V_ERR_…)."""

_NO_TLS = (
    "the server has no TLS, and nothing was sent to it; switch ssl on there, or, where nobody else can be on the "
    "network, write sslmode=disable in [store] url"
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
    """Whether the connection cannot be used any more. One to a server that became a standby cannot."""
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    broken = OSError | asyncpg.PostgresConnectionError | asyncpg.InternalClientError
    return isinstance(error, broken | asyncpg.ReadOnlySQLTransactionError)


async def refuse_read_only(db: Connection) -> None:
    """Raise ReadOnlySQLTransactionError where the server does not accept writes any more.

    A primary that was fenced, or that a blue/green switch left behind, keeps its connections and answers reads.
    """
    if await db.fetchval("SHOW transaction_read_only") == "on":
        raise asyncpg.ReadOnlySQLTransactionError("the server became read-only")


def is_contention(error: BaseException) -> bool:
    """Whether a retry may succeed: another transaction was in the way, and this one was rolled back."""
    return isinstance(error, asyncpg.SerializationError | asyncpg.DeadlockDetectedError)


def unavailable(address: Address, error: BaseException, *, unchanged: bool = True) -> StoreUnavailable:
    """What happened to which database, and what to do about it. A new error each time: each caller raises its own."""
    failure = StoreUnavailable(f"database {address}: {_explained(error)}", unchanged=unchanged)
    failure.__cause__ = error
    return failure


def _explained(error: BaseException) -> str:
    advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = _CERTIFICATE_ADVICE.get(error.verify_code, advice)
    elif type(error) is ConnectionError:  # its subclasses are what happens to sockets
        advice = _NO_TLS
    if isinstance(error, asyncpg.PostgresError) and error.args:
        text = f" (PostgreSQL says: {error.args[0]})"  # without its details, which may be a player's data
    else:
        text = f" ({error})" if str(error) else ""
    return f"{advice or 'the operation could not be executed; check the server'}{text}"


def translate_error(address: Address, error: Exception) -> Exception:
    """The error to raise at the caller for one that changed nothing."""
    if isinstance(error, asyncpg.CharacterNotInRepertoireError) or isinstance(error.__cause__, UnicodeError):
        return ValueError("a key has NUL or a lone surrogate, which PostgreSQL cannot store")
    return unavailable(address, error) if is_outage(error) else error


async def connect(
    address: Address, purpose: str, settings: Mapping[str, str], *, read_only: bool = False
) -> Connection:
    """A connection to the first host that accepts writes, or to any host where `read_only`. Raises StoreUnavailable.

    After a failover a name may resolve to a standby for a while: a connection kept to it would continue to fail, or to
    read old data, long after the name resolves to the primary.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CONNECT_TIMEOUT_S
    failed: list[tuple[Host, Exception]] = []
    for index, host in enumerate(address.hosts):
        share_s = (deadline - loop.time()) / (len(address.hosts) - index)  # a dead host leaves time for those after it
        try:
            async with asyncio.timeout(share_s):
                db = await _connect_host(address, host, purpose, settings, read_only=read_only)
        except asyncpg.ClientConfigurationError:
            # Its text may hold any part of the url.
            raise StoreUnavailable(f"database {address}: [store] url has an option that does not fit") from None
        except _TRY_NEXT as error:
            failed.append((host, error))
        except DRIVER_ERRORS as error:
            raise unavailable(address, error) from error
        else:
            await _refuse_old_server(db, address)
            return db
    last = failed[-1][1]
    if len(failed) == 1:
        raise unavailable(address, last) from last
    reasons = "; ".join(f"{host}: {_explained(error)}" for host, error in failed)
    raise StoreUnavailable(f"database {address}: no host can be used: {reasons}") from last


_TRY_NEXT = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.TargetServerAttributeNotMatched,
)
"""Errors of one host, where another may be usable. A refused user is refused by all."""


async def _connect_host(
    address: Address, host: Host, purpose: str, settings: Mapping[str, str], *, read_only: bool
) -> Connection:
    """Every connection of a gateway is made here. Raises DRIVER_ERRORS."""
    mode = address.protection(host)
    settings = {**_SETTINGS, **settings, "application_name": application_name(purpose)}
    if address.search_path is not None:
        settings["search_path"] = address.search_path
    db: Connection = await asyncpg.connect(
        host=host.name,
        port=host.port,
        user=address.user,
        password=address.password,
        passfile=address.passfile,
        database=address.database,
        # Never None: asyncpg would read the environment, and its default continues without TLS where there is none.
        ssl=False if mode is SslMode.DISABLE else await asyncio.to_thread(client_context, mode, address.tls),
        direct_tls=False,
        target_session_attrs=SessionAttribute.any if read_only else SessionAttribute.read_write,
        server_settings=settings,
    )
    return db


def application_name(purpose: str) -> str:
    """The name of a connection in pg_stat_activity: its host, its process and what it is for, in 63 bytes."""
    rest = f"/{os.getpid()} {purpose}"
    host = re.sub(r"[^!-~]", "?", socket.gethostname())
    return f"{f'session-gateway {host}'[: 63 - len(rest)]}{rest}"


async def _refuse_old_server(db: Connection, address: Address) -> None:
    if (version := db.get_server_version()).major < MIN_SERVER_VERSION:
        await close(db)
        raise StoreUnavailable(
            f"database {address}: its server is PostgreSQL {version.major}, and this release needs {MIN_SERVER_VERSION}"
        )


async def connect_committer(address: Address) -> Connection:
    """The connection that writes, with the types of its statements loaded. Raises StoreUnavailable.

    It is refused where the server would acknowledge a commit before it is durable.
    """
    db = await connect(address, "writes", COMMITTING)
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
