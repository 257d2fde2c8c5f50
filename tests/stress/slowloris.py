"""Slow clients: connections to the callbacks that send a request byte by byte, without end, or nothing at all."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum, unique
from itertools import cycle, islice
from time import monotonic

import uvloop

from tests.stress.processes import ROOT
from tests.support.gateway import callback_key
from tests.support.results import result_body

INTERVAL_S = 1.0
"""Between two bytes."""
ENDLESS = 100_000
"""Bytes that are promised."""


@unique
class Kind(StrEnum):
    """What a slow client sends."""

    NOTHING = "nothing"
    HEAD = "head"
    BODY = "body"
    SECOND = "second request"
    """A good request, and then another one's head byte by byte."""


@dataclass
class SlowClient:
    """One connection."""

    kind: Kind
    lived_s: float | None = None
    """From connecting until the gateway ended it; None while it lives."""

    async def run(self, address: str, provider: str) -> None:
        """Send until the gateway ends the connection."""
        loop = asyncio.get_running_loop()
        host, _, port = address.rpartition(":")
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, (host, int(port)))
            begun = monotonic()
            with suppress(OSError):
                await loop.sock_sendall(sock, self._at_first(provider))
                reading = asyncio.create_task(self._until_closed(sock))
                try:
                    while not reading.done():
                        await asyncio.wait({reading}, timeout=INTERVAL_S)
                        if self.kind is not Kind.NOTHING and not reading.done():
                            await loop.sock_sendall(sock, b"x")
                finally:
                    reading.cancel()
                    await asyncio.wait({reading})
            self.lived_s = monotonic() - begun

    async def _until_closed(self, sock: socket.socket) -> None:
        with suppress(OSError):
            while await asyncio.get_running_loop().sock_recv(sock, 65536):
                pass

    def _at_first(self, provider: str) -> bytes:
        line = f"POST /callbacks/{provider}/{callback_key(provider)}/V4/Result HTTP/1.1\r\nHost: gateway\r\n".encode()
        match self.kind:
            case Kind.NOTHING:
                return b""
            case Kind.HEAD:
                return line + b"X-Endless: "
            case Kind.BODY:
                return line + b"Content-Length: %d\r\n\r\n" % ENDLESS
            case Kind.SECOND:
                body = result_body("slow", userId="unknown")
                return line + b"Content-Length: %d\r\n\r\n%s" % (len(body), body) + line + b"X-Endless: "


@dataclass
class SlowClients:
    """Slow clients of all kinds; one that ends is replaced."""

    address: str
    provider: str
    number: int
    gone: list[SlowClient] = field(default_factory=list)
    living: list[SlowClient] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All of them, until the block ends."""
        tasks = [
            asyncio.create_task(self._one(kind, INTERVAL_S * at / self.number))
            for at, kind in enumerate(islice(cycle(Kind), self.number))
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _one(self, kind: Kind, after_s: float) -> None:
        await asyncio.sleep(after_s)  # not all drops at the same moment
        while True:
            client = SlowClient(kind)
            self.living.append(client)
            try:
                await client.run(self.address, self.provider)
            except OSError:  # it was rejected
                await asyncio.sleep(INTERVAL_S)
                continue
            finally:
                self.living.remove(client)
            self.gone.append(client)


@asynccontextmanager
async def slow_clients_process(address: str, provider: str, number: int) -> AsyncIterator[None]:
    """Slow clients in a separate process, so that they do not delay the measuring one, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.stress.slowloris",
        address,
        provider,
        str(number),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline(), "the slow clients did not start"
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _run_apart(address: str, provider: str, number: int) -> None:
    async with SlowClients(address, provider, number).running():
        await asyncio.sleep(2 * INTERVAL_S)
        sys.stdout.write("running\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def outlived(address: str, provider: str, number: int, limit_s: float) -> Sequence[SlowClient]:
    """Slow clients, each until the gateway ends it, or until it is a second over the limit."""
    slow_clients = [SlowClient(kind) for kind in islice(cycle(Kind), number)]
    running = [asyncio.create_task(each.run(address, provider)) for each in slow_clients]
    await asyncio.wait(running, timeout=limit_s + 1)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    return slow_clients


if __name__ == "__main__":
    uvloop.run(_run_apart(sys.argv[1], sys.argv[2], int(sys.argv[3])))
