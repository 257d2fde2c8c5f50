"""A proxy that injects faults between a caller and a provider, and counts what the provider really received."""

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from tests.support.faults import Blackhole, Down, Fault, Refuse
from tests.support.faulty_link import ProxyConnection, ProxySettings, ReceivedRequests

_HOST = "127.0.0.1"
_BACKLOG = 1024


class FaultProxy:
    """Passes requests on to a provider, one at a time on each connection, unless its `fault` prevents it.

    A fault applies to requests that begin to arrive after it is set; a fault of connecting also ends all connections.
    """

    def __init__(self, provider: str) -> None:
        """`provider` is the base URL of a server that answers each request with a Content-Length."""
        parts = urlsplit(provider)
        self.received = ReceivedRequests()
        """What the provider really got."""
        self._line = ProxySettings(
            (parts.hostname or _HOST, parts.port or 80), self.received, lambda: self._fault, self._ask
        )
        self.connections = 0
        """Connections accepted, to end them at once too."""
        self.links: set[ProxyConnection] = set()
        self._fault: Fault | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self._listening: socket.socket | None = None
        self._fillers: list[socket.socket] = []
        # Bound and never listening, it keeps the port while nothing listens on it.
        self._port_keeper = _bound(0)
        self._listen()

    @property
    def port(self) -> int:
        port: int = self._port_keeper.getsockname()[1]
        return port

    @property
    def base_url(self) -> str:
        """Where the gateway finds the provider."""
        return f"http://{_HOST}:{self.port}"

    @property
    def fault(self) -> Fault | None:
        """The fault of requests; None: none."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        if fault == self._fault:
            return
        self._listen_again()
        self._fault = fault
        if isinstance(fault, Down | Refuse | Blackhole):
            self.cut()
        if isinstance(fault, Down):
            self._stop_listening()
        elif isinstance(fault, Blackhole):
            self._fill_up()

    def cut(self) -> None:
        """Reset all connections that there are."""
        for link in list(self.links):
            link.reset()

    async def wait_executed(self) -> None:
        """Wait until the provider has answered all that it got."""
        while self._asking:
            await asyncio.wait(self._asking)

    async def stop(self) -> None:
        """Listen no more, and end every connection."""
        self._stop_listening()
        self._close_fillers()
        self._port_keeper.close()
        for task in {*self._serving, *self._asking}:
            task.cancel()
        await asyncio.gather(*self._serving, *self._asking, return_exceptions=True)

    def _ask(self, asking: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return _started(asking, self._asking)

    # --- listening ----------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self._listening = _bound(self.port)
        self._listening.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(self._listening.fileno(), self._accept)

    def _stop_listening(self) -> None:
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening.fileno())
            self._listening.close()
            self._listening = None

    def _fill_up(self) -> None:
        """Let the system accept no more connections: it drops requests beyond those that are not accepted."""
        assert self._listening is not None
        asyncio.get_running_loop().remove_reader(self._listening.fileno())
        self._listening.listen(0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((_HOST, self.port))
            self._fillers.append(filler)

    def _close_fillers(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    def _listen_again(self) -> None:
        if self._fillers:  # a fresh socket, for those are still in the old one's queue
            self._stop_listening()
            self._close_fillers()
        if self._listening is None:
            self._listen()

    def _accept(self) -> None:
        assert self._listening is not None
        with suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                caller, _ = self._listening.accept()
                self.connections += 1
                link = ProxyConnection(self._line, caller, self.links.discard)
                self.links.add(link)
                if isinstance(self._fault, Refuse):
                    link.reset()
                else:
                    link.task = _started(link.serve(), self._serving)


def _started(work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]]) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(work)
    among.add(task)
    task.add_done_callback(among.discard)
    return task


def _bound(port: int) -> socket.socket:
    """A socket of this port that does not listen yet."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setblocking(False)
    bound.bind((_HOST, port))
    return bound


@asynccontextmanager
async def fault_proxy(provider: str) -> AsyncIterator[FaultProxy]:
    """A proxy in front of the provider at this base URL, on a free port."""
    proxy = FaultProxy(provider)
    try:
        yield proxy
    finally:
        await proxy.stop()
