"""The leanest honest HTTP load: keep-alive connections that each have one request under way, all of them prepared.

The client must not be what is measured: no library, no parsing beyond a length, no object a request.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import cast

END = b"\r\n\r\n"
LENGTH = b"content-length: "


@dataclass
class Tally:
    """What came back within the measured time."""

    answered: int = 0
    """Answers as expected, within the measured time."""
    wrong: int = 0
    """Answers that are not what was expected, from the first request on."""
    first_wrong: bytes = b""
    waits: list[float] = field(default_factory=list)
    """Seconds from each request to its answer."""


def request(path: str, body: bytes) -> bytes:
    """One POST as it travels."""
    head = ("POST %s HTTP/1.1", "Host: bench", "Content-Type: application/json", "Content-Length: %d", "", "")
    return ("\r\n".join(head) % (path, len(body))).encode() + body


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the last one is answered."""

    def __init__(self, requests: Iterator[bytes], expected: bytes, tally: Tally, done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._expected = expected
        self._tally = tally
        self._done = done
        self._received = b""
        self._sent_at = 0.0
        self.counting = False
        self.stopping = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop has a class of its own
        self._send()

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
        if self.counting and self._expected in body:
            self._tally.answered += 1
            self._tally.waits.append(time.perf_counter() - self._sent_at)
        if self._expected not in body:
            self._tally.wrong += 1
            self._tally.first_wrong = self._tally.first_wrong or head + END + body
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _send(self) -> None:
        assert self._transport is not None
        if self.stopping:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._requests))


async def drive(
    host: str, port: int, requests: Iterator[bytes], *, connections: int, warm_s: float, seconds: float, expected: bytes
) -> tuple[Tally, float]:
    """Send for so long; answers the tally and the seconds that were measured."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    ended: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
    protocols = []
    for done in ended:
        connect = partial(_Connection, requests, expected, tally, done)
        _, protocol = await loop.create_connection(connect, host, port)
        protocols.append(protocol)
    await asyncio.sleep(warm_s)
    for protocol in protocols:
        protocol.counting = True
    begun = time.perf_counter()
    await asyncio.sleep(seconds)
    measured = time.perf_counter() - begun
    for protocol in protocols:
        protocol.counting = False
        protocol.stopping = True
    await asyncio.wait(ended, timeout=10)
    return tally, measured
