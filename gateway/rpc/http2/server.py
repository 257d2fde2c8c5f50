"""The second front end's listeners, connections, and stop."""

import asyncio
import socket
import ssl
from functools import partial
from typing import cast

from gateway.rpc.http2.connection import Connection
from gateway.rpc.http2.limits import Limits
from gateway.rpc.http2.services import Services
from gateway.rpc.limits import CONNECTIONS

TICK_S = 0.25
"""Between two looks at deadlines and silent peers."""


class Http2Server(Services):
    """Serves what is added to it as to a grpc.aio.Server.

    `shares_port` lets other workers of this gateway listen on the same port.
    """

    def __init__(self, *, shares_port: bool = False, limits: Limits | None = None) -> None:
        super().__init__()
        self._shares_port = shares_port
        self._limits = limits or Limits()
        self._bound: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._listeners: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._gone = asyncio.Event()
        self._ticking: asyncio.Task[None] | None = None
        self._stopping = False

    def bind(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Take a port, a free one for 0; answers it. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.create_server((host, port), family=family, backlog=1024, reuse_port=self._shares_port)
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        self._bound.append((bound, tls))
        return cast("int", bound.getsockname()[1])

    async def start(self) -> None:
        """Accept calls."""
        loop = asyncio.get_running_loop()
        connection = partial(Connection, self.methods, self._limits, self._taken, self._lost)
        for bound, tls in self._bound:
            handshake_s = None if tls is None else self._limits.preface_s
            self._listeners.append(
                await loop.create_server(connection, sock=bound, ssl=tls, ssl_handshake_timeout=handshake_s)
            )
        self._ticking = asyncio.create_task(self._tick())

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, let the others finish within the grace, and hang up."""
        self._stopping = True
        for listener in self._listeners:
            listener.close()
        for bound, _ in self._bound:
            bound.close()
        for connection in list(self._connections):
            connection.drain()
        try:
            if self._connections:
                self._gone.clear()
                async with asyncio.timeout(grace_s):
                    await self._gone.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.abort()
        if self._ticking is not None:
            self._ticking.cancel()

    def _taken(self, connection: Connection) -> bool:
        # Not sooner: nobody hears of the end of one that fails in TLS's handshake.
        if self._stopping or len(self._connections) >= CONNECTIONS:
            return False
        self._connections.add(connection)
        return True

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._gone.set()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            for connection in list(self._connections):
                connection.tick(loop.time())
