"""The connections to one provider: limited in number and reused."""

import asyncio
import errno
import os
import socket
import ssl
from collections import deque
from functools import partial

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from gateway.outbound.address_guard import ensure_public_peer
from gateway.outbound.connection import Connection
from gateway.outbound.request_writer import RequestWriter
from gateway.outbound.resolver import Resolve
from gateway.outbound.tls import load_ssl_context

_MAX_IDLE_S = 15.0
"""Seconds for which an idle connection is kept: less than common servers do, so that the gateway closes first."""
_MAX_AGE_S = 60.0
"""Seconds for which a connection is used again: one that is never idle would not notice that the name has moved."""
_DNS_TTL_S = 10.0
"""Seconds for which resolved addresses are used for new connections."""
_HAPPY_EYEBALLS_DELAY_S = 0.25
"""Seconds until the next address is tried in parallel (RFC 8305)."""


class Addresses:
    """The addresses of a provider's name, resolved once for connections that are opened at the same time."""

    def __init__(self, resolver: Resolve, host: str, port: int) -> None:
        self._resolver = resolver
        self._host = host
        self._port = port
        self._found: deque[AddrInfoType] = deque()
        self._valid_until = 0.0
        self._query: asyncio.Task[None] | None = None

    async def next(self) -> list[AddrInfoType]:
        """All addresses; each call begins with another one. Raises OSError where there is none."""
        if asyncio.get_running_loop().time() >= self._valid_until:
            if self._query is None:
                self._query = asyncio.create_task(self._resolve())
                self._query.add_done_callback(self._on_resolved)
            await asyncio.shield(self._query)  # other calls wait for it too
        found = list(self._found)
        self._found.rotate(-1)
        return found

    async def _resolve(self) -> None:
        self._found = deque(await self._resolver(self._host, self._port))
        self._valid_until = asyncio.get_running_loop().time() + _DNS_TTL_S

    def _on_resolved(self, query: asyncio.Task[None]) -> None:
        self._query = None
        if not query.cancelled():
            query.exception()  # retrieved: it is not logged where every waiting call was cancelled


class PoolClosed(Exception):
    """The gateway is stopping."""


class ConnectionPool:
    """At most `size` connections at a time. Calls wait in order of arrival; the last used connection is used next."""

    def __init__(
        self,
        writer: RequestWriter,
        resolver: Resolve,
        size: int,
        max_answer_bytes: int,
        *,
        tls: ssl.SSLContext | None = None,
        public_only: bool = False,
    ) -> None:
        """Connections use `tls` in place of the settings of all providers. With `public_only`, a connection to a
        private address is closed before anything is sent.
        """
        self._writer = writer
        self._tls = tls
        self._public_only = public_only
        self._addresses = Addresses(resolver, writer.host, writer.port)
        self._loop = asyncio.get_running_loop()
        self._free = size
        """Connections that may be acquired; 0 while a call waits."""
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._idle: list[Connection] = []
        """Oldest first."""
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._retired = False
        self._closing = False
        self._all_closed = asyncio.Event()
        self._create = partial(Connection, max_answer_bytes, self._lost)

    def try_acquire(self) -> Connection | None:
        """An idle connection, or None where there is none or calls wait."""
        if not self._free or (connection := self._pop_idle()) is None:
            return None
        self._free -= 1
        return connection

    async def acquire(self) -> Connection:
        """An open connection. The caller limits the time. Only the TLS handshake is sent.

        Raises PoolClosed, OSError (also AddressRefused and TLS errors), and ValueError for a name that TLS rejects.
        """
        await self._acquire_slot()
        try:
            return self._pop_idle() or await self._connect()
        except BaseException:
            self._release_slot()
            raise

    def release(self, connection: Connection) -> None:
        """Call once for each acquired connection, whatever its state."""
        if self._retired or self._loop.time() - connection.opened_at >= _MAX_AGE_S:
            connection.abort()
        elif connection.open and not self._closing:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)
            if self._sweep is None:
                self._sweep = self._loop.call_later(_MAX_IDLE_S, self._close_idle)
        self._release_slot()

    def retire(self) -> None:
        """Keep no idle connection from now on. Exchanges in progress finish, and later ones open a connection each."""
        self._retired = True
        while self._idle:
            self._idle.pop().abort()

    async def close(self) -> None:
        """End every connection, also with an exchange in progress. Waiting calls raise PoolClosed."""
        self._closing = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        if self._open:
            for connection in list(self._open):
                connection.abort()
            await self._all_closed.wait()

    async def _acquire_slot(self) -> None:
        # Faster than asyncio.Semaphore by a twentieth of an exchange.
        if self._free:
            self._free -= 1
            return
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # it has got the slot, and passes it on
                self._release_slot()
            raise

    def _release_slot(self) -> None:
        """Pass the slot to the call that waits longest, so that no later call takes it."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def _pop_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable():
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        if self._closing:
            raise PoolClosed
        # Before the socket: a call that is cancelled meanwhile must not leave one open.
        tls, host = None, None
        if self._writer.tls:
            tls, host = self._tls or await load_ssl_context(), self._writer.host.rstrip(".")
        sock = await self._connect_socket()
        _, connection = await self._loop.create_connection(self._create, sock=sock, ssl=tls, server_hostname=host)
        self._register(connection)
        return connection

    async def _connect_socket(self) -> socket.socket:
        sock = await aiohappyeyeballs.start_connection(
            await self._addresses.next(), happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY_S
        )
        try:
            if self._public_only:
                ensure_public_peer(self._writer.host, sock)
        except OSError:
            sock.close()
            raise
        return sock

    def _register(self, connection: Connection) -> None:
        """Check what has changed while it was opened. Raises OSError and PoolClosed."""
        if not connection.is_connected():
            connection.abort()
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        if self._closing:
            connection.abort()
            raise PoolClosed
        connection.opened_at = self._loop.time()
        self._open.add(connection)

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if self._closing and not self._open:
            self._all_closed.set()

    def _close_idle(self) -> None:
        idle_before = self._loop.time() - _MAX_IDLE_S
        ended = [connection for connection in self._idle if not connection.open or connection.idle_since <= idle_before]
        self._idle = [connection for connection in self._idle if connection not in ended]
        for connection in ended:
            connection.abort()
        self._sweep = (
            self._loop.call_at(self._idle[0].idle_since + _MAX_IDLE_S, self._close_idle) if self._idle else None
        )
