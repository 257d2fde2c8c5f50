"""An HTTP load: keep-alive connections, each with one request in flight.

The client must not be what is measured: no library, no parsing beyond a length, no object for each request.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

from bench.load.tally import Tally, counted, ended, sent_at_rate

END = b"\r\n\r\n"
LENGTH = b"content-length: "


def request(path: str, body: bytes) -> bytes:
    """One POST as it travels."""
    head = ("POST %s HTTP/1.1", "Host: bench", "Content-Type: application/json", "Content-Length: %d", "", "")
    return ("\r\n".join(head) % (path, len(body))).encode() + body


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the last one is answered, or calls `idle`."""

    def __init__(
        self,
        requests: Iterator[bytes],
        expected: bytes,
        tally: Tally,
        done: asyncio.Future[None],
        idle: "Callable[[_Connection], None] | None",
    ) -> None:
        self._requests = requests
        self._expected = expected
        self._tally = tally
        self._done = done
        self._idle = idle
        self._received = b""
        self._sent_at: float | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop has another class
        self._go_on()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(END)
        if not separator:
            return
        lowered = head.lower()
        at = lowered.find(LENGTH)
        length = int(lowered[at + len(LENGTH) :].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._received = b""
        sent_at, self._sent_at = self._sent_at, None
        if self._expected in body and sent_at is not None:
            self._tally.succeeded(sent_at)
        else:
            self._tally.failed(head + END + body)
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sent_at is not None or not self._tally.stopping:
            self._tally.failed(b"connection lost")
        if not self._done.done():
            self._done.set_result(None)

    def send(self, at: float) -> None:
        """Send the next request, which was due then."""
        assert self._transport is not None
        self._sent_at = at
        self._transport.write(next(self._requests))

    def end_when_idle(self) -> None:
        """Close the connection if nothing is in flight."""
        if self._sent_at is None and self._transport is not None:
            self._transport.close()

    def _go_on(self) -> None:
        if self._tally.stopping:
            self.end_when_idle()
        elif self._idle is not None:
            self._idle(self)
        else:
            self.send(time.perf_counter())


class _Dispatcher:
    """Sends what is due on idle connections. Without one it waits, and its latency counts from when it was due."""

    def __init__(self) -> None:
        self._idle: deque[_Connection] = deque()
        self._due: deque[float] = deque()

    def send(self, at: float) -> None:
        """Send on an idle connection, now or as soon as there is one."""
        if self._idle:
            self._idle.popleft().send(at)
        else:
            self._due.append(at)

    def idle(self, connection: _Connection) -> None:
        """Accept a connection for the next request."""
        if self._due:
            connection.send(self._due.popleft())
        else:
            self._idle.append(connection)


async def drive(
    host: str,
    port: int,
    requests: Iterator[bytes],
    *,
    connections: int,
    rate: float | None = None,
    warm_s: float,
    seconds: float,
    expected: bytes,
    processor: Callable[[], float] = lambda: 0.0,
) -> Tally:
    """Send for that time, with one request in flight on each connection.

    With `rate`, that many requests a second are sent instead, on the connections that are idle.
    """
    loop = asyncio.get_running_loop()
    tally, dispatcher = Tally(), _Dispatcher()
    done: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
    protocols = []
    for each in done:
        connect = partial(_Connection, requests, expected, tally, each, dispatcher.idle if rate else None)
        _, protocol = await loop.create_connection(connect, host, port)
        protocols.append(protocol)
    pacing = loop.create_task(sent_at_rate(tally, rate, dispatcher.send)) if rate else None
    await counted(tally, warm_s=warm_s, seconds=seconds, processor=processor)
    if pacing is not None:
        await pacing
    for protocol in protocols:
        protocol.end_when_idle()
    await ended(tally, done)
    return tally
