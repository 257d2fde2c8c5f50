"""Slow drippers: connections to the callbacks that bring a request byte by byte, for ever, or nothing at all."""

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

from tests.stress.resilience_harness import ROOT
from tests.support.gateway import callback_key
from tests.support.results import result_body

INTERVAL_S = 1.0
"""Between two bytes."""
ENDLESS = 100_000
"""Bytes that are promised."""


@unique
class Kind(StrEnum):
    """What a dripper brings."""

    NOTHING = "nothing"
    HEAD = "head"
    BODY = "body"
    SECOND = "second request"
    """A good request, and then another one's head byte by byte."""


@dataclass
class Dripper:
    """One connection."""

    kind: Kind
    lived_s: float | None = None
    """From connecting until the gateway ended it; None while it lives."""

    async def drip(self, address: str, provider: str) -> None:
        """Drip until the gateway ends the connection."""
        loop = asyncio.get_running_loop()
        host, _, port = address.rpartition(":")
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, (host, int(port)))
            begun = monotonic()
            with suppress(OSError):
                await loop.sock_sendall(sock, self._at_first(provider))
                hearing = asyncio.create_task(self._until_closed(sock))
                try:
                    while not hearing.done():
                        await asyncio.wait({hearing}, timeout=INTERVAL_S)
                        if self.kind is not Kind.NOTHING and not hearing.done():
                            await loop.sock_sendall(sock, b"x")
                finally:
                    hearing.cancel()
                    await asyncio.wait({hearing})
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
                body = result_body("dripped", userId="nobody")
                return line + b"Content-Length: %d\r\n\r\n%s" % (len(body), body) + line + b"X-Endless: "


@dataclass
class Drippers:
    """So many drippers of all kinds, whoever ends one of them."""

    address: str
    provider: str
    number: int
    gone: list[Dripper] = field(default_factory=list)
    living: list[Dripper] = field(default_factory=list)

    @asynccontextmanager
    async def dripping(self) -> AsyncIterator[None]:
        """All of them, and another one for each that is gone, while the block lasts."""
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
            dripper = Dripper(kind)
            self.living.append(dripper)
            try:
                await dripper.drip(self.address, self.provider)
            except OSError:  # it was not even let in
                await asyncio.sleep(INTERVAL_S)
                continue
            finally:
                self.living.remove(dripper)
            self.gone.append(dripper)


@asynccontextmanager
async def dripping_apart(address: str, provider: str, number: int) -> AsyncIterator[None]:
    """So many drippers in a process of their own, which does not hold up who measures, while the block lasts."""
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
        assert await process.stdout.readline(), "the drippers did not start"
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _drip_apart(address: str, provider: str, number: int) -> None:
    async with Drippers(address, provider, number).dripping():
        await asyncio.sleep(2 * INTERVAL_S)
        sys.stdout.write("dripping\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def outlived(address: str, provider: str, number: int, limit_s: float) -> Sequence[Dripper]:
    """So many drippers, each dripping until the gateway ends it, or it is a second over the limit."""
    drippers = [Dripper(kind) for kind in islice(cycle(Kind), number)]
    dripping = [asyncio.create_task(each.drip(address, provider)) for each in drippers]
    await asyncio.wait(dripping, timeout=limit_s + 1)
    for task in dripping:
        task.cancel()
    await asyncio.wait(dripping)
    return drippers


if __name__ == "__main__":
    uvloop.run(_drip_apart(sys.argv[1], sys.argv[2], int(sys.argv[3])))
