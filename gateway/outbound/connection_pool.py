"""The connections to one provider: bounded, kept for the next exchange, and opened to addresses that it may have."""

import asyncio
import errno
import os
import socket
import ssl
import threading
from collections import deque
from functools import cache, partial

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver

from gateway.outbound.connection import Connection
from gateway.outbound.request_writer import RequestWriter

_IDLE_S = 15.0
"""Seconds for which a connection without an exchange is kept: less than a usual server's, so that we close first."""
_LOOK_UP_S = 10.0
"""Seconds for which what a name resolved to is used for new connections."""
_NEXT_ADDRESS_S = 0.25
"""Seconds until the next address is tried beside the first (RFC 8305)."""


class Addresses:
    """What a provider's name resolves to, looked up once for all who open connections at the same time."""

    def __init__(self, resolver: AbstractResolver, host: str, port: int) -> None:
        self._resolver = resolver
        self._host = host
        self._port = port
        self._found: deque[AddrInfoType] = deque()
        self._good_until = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def next(self) -> list[AddrInfoType]:
        """All addresses, each time beginning with another. Raises OSError where there is none."""
        if asyncio.get_running_loop().time() >= self._good_until:
            if self._looking is None:
                self._looking = asyncio.create_task(self._look_up())
                self._looking.add_done_callback(self._looked)
            await asyncio.shield(self._looking)  # others wait for it too
        found = list(self._found)
        self._found.rotate(-1)
        return found

    async def _look_up(self) -> None:
        found = await self._resolver.resolve(self._host, self._port, socket.AF_UNSPEC)
        self._found = deque(
            (
                each["family"],
                socket.SOCK_STREAM,
                each["proto"],
                "",
                (each["host"], each["port"], 0, 0)
                if each["family"] == socket.AF_INET6
                else (each["host"], each["port"]),
            )
            for each in found
        )
        self._good_until = asyncio.get_running_loop().time() + _LOOK_UP_S

    def _looked(self, looking: asyncio.Task[None]) -> None:
        self._looking = None
        if not looking.cancelled():
            looking.exception()  # whoever waited has it; where nobody did any more, nobody misses it


class PoolClosed(Exception):
    """The gateway is stopping."""


class ConnectionPool:
    """At most `size` connections at a time. Who waits for one gets it in turn; what was used last is used next."""

    def __init__(self, target: RequestWriter, resolver: AbstractResolver, size: int, max_answer_bytes: int) -> None:
        self._target = target
        self._addresses = Addresses(resolver, target.host, target.port)
        self._loop = asyncio.get_running_loop()
        self._free = size
        """Connections that may be taken or opened; 0 as long as somebody waits."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle: list[Connection] = []
        """Oldest first."""
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._retired = False
        self._closing = False
        self._all_ended = asyncio.Event()
        self._new = partial(Connection, max_answer_bytes, self._lost)

    def take_ready(self) -> Connection | None:
        """A connection that is at hand and that nobody else waits for; otherwise None."""
        if not self._free or (connection := self._kept()) is None:
            return None
        self._free -= 1
        return connection

    async def take(self) -> Connection:
        """A connection that stands, for as long as it takes: bound it. Nothing is sent meanwhile but TLS's handshake.

        Raises PoolClosed, OSError (AddressRefused and TLS's errors among them), and ValueError for a name that TLS
        cannot ask for.
        """
        await self._acquire()
        try:
            return self._kept() or await self._connect()
        except BaseException:
            self._next()
            raise

    def give_back(self, connection: Connection) -> None:
        """To be called once for each connection taken, whatever became of it."""
        if self._retired:
            connection.abort()
        elif connection.open and not self._closing:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)
            if self._sweep is None:
                self._sweep = self._loop.call_later(_IDLE_S, self._close_idle)
        self._next()

    def retire(self) -> None:
        """Keep no connection any more. Exchanges under way go on, and those that come late have one of their own."""
        self._retired = True
        while self._idle:
            self._idle.pop().abort()

    async def close(self) -> None:
        """End every connection, those with an exchange under way too; who waits for one hears PoolClosed."""
        self._closing = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        if self._open:
            for connection in list(self._open):
                connection.abort()
            await self._all_ended.wait()

    async def _acquire(self) -> None:
        # An asyncio.Semaphore does the same, and takes a twentieth of what an exchange costs.
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it had come
                self._next()
            raise

    def _next(self) -> None:
        """What one call leaves is the next one's, who need not fear that somebody comes in between."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable():
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        if self._closing:
            raise PoolClosed
        # First, so that nobody is left with a socket who gives up meanwhile.
        tls, host = (await load_ssl_context(), self._target.host.rstrip(".")) if self._target.tls else (None, None)
        sock = await aiohappyeyeballs.start_connection(
            await self._addresses.next(), happy_eyeballs_delay=_NEXT_ADDRESS_S
        )
        _, connection = await self._loop.create_connection(self._new, sock=sock, ssl=tls, server_hostname=host)
        self._register(connection)
        return connection

    def _register(self, connection: Connection) -> None:
        """Look at what has come about meanwhile."""
        if not connection.is_connected():
            connection.abort()
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        if self._closing:
            connection.abort()
            raise PoolClosed
        self._open.add(connection)

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if self._closing and not self._open:
            self._all_ended.set()

    def _close_idle(self) -> None:
        kept_since = self._loop.time() - _IDLE_S
        ended = [connection for connection in self._idle if not connection.open or connection.idle_since <= kept_since]
        self._idle = [connection for connection in self._idle if connection not in ended]
        for connection in ended:
            connection.abort()
        self._sweep = self._loop.call_at(self._idle[0].idle_since + _IDLE_S, self._close_idle) if self._idle else None


def load_ssl_context() -> asyncio.Future[ssl.SSLContext]:
    """`tls_context`, on a thread: it reads from disk the first time, and neither a start nor another call waits."""
    return asyncio.get_running_loop().run_in_executor(None, tls_context)


def tls_context() -> ssl.SSLContext:
    """How every provider's certificate is checked: against the system's authorities, and for its name."""
    with _ONE_AT_A_TIME:
        return made_tls_context()


_ONE_AT_A_TIME = threading.Lock()


@cache
def made_tls_context() -> ssl.SSLContext:
    """The one that all share, made on the first call."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
