"""A client as the gateway creates it, the exchanges that the tests make with it, and a clock that they control."""

import asyncio
import socket
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from adapters.contract import HttpReply, HttpRequest
from gateway.outbound.client import Endpoint, ExchangeFailed, ProviderClient
from gateway.outbound.deadline import Deadline
from gateway.outbound.tls import ProviderTls
from tests.gateway.outbound.raw_provider import Peer, answer

LONG = 90.0
"""Seconds that no test waits."""
SHORT = 0.3
"""Seconds until a deadline that is meant to pass."""

SECRET = "c951985e404309115"
CLOSE = HttpRequest(
    "POST",
    "/v1/CloseSession",
    query=(("token", SECRET),),
    headers=(("Authorization", f"Basic {SECRET}"), ("Content-Type", "application/json")),
    body=b'{"requestContent":{}}',
)


class ManualClock:
    """A monotonic clock in seconds, which only `advance` moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class HeldProvider:
    """A provider that answers when it is released, with the path of the request."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[str] = asyncio.Queue()
        self.disconnects: asyncio.Queue[None] = asyncio.Queue()
        self._may_answer = asyncio.Semaphore(0)

    async def __call__(self, peer: Peer) -> None:
        try:
            while True:
                path = (await peer.request()).split()[1]
                self.requests.put_nowait(path.decode())
                await self._may_answer.acquire()
                await peer.send(answer(path))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.disconnects.put_nowait(None)

    def release(self, answers: int = 1) -> None:
        """Let that many answers be sent."""
        for _ in range(answers):
            self._may_answer.release()


@asynccontextmanager
async def client(base_url: str, tls: ProviderTls | None = None, **limits: float) -> AsyncIterator[ProviderClient]:
    """A started client."""
    started = ProviderClient(
        Endpoint(
            "acme",
            base_url,
            allow_private_addresses=True,
            connect_timeout_s=limits.get("connect_timeout_s", LONG),
            max_answer_bytes=int(limits.get("max_answer_bytes", 65536)),
            connections=int(limits.get("connections", 100)),
            tls=tls,
        )
    )
    await started.start()
    try:
        yield started
    finally:
        await started.close()


async def exchange(
    client: ProviderClient, request: HttpRequest = CLOSE, seconds: float = LONG, deadline: Deadline | None = None
) -> HttpReply:
    return await client.send(request, deadline or Deadline.after(seconds))


async def failure(
    client: ProviderClient, request: HttpRequest = CLOSE, seconds: float = LONG, deadline: Deadline | None = None
) -> ExchangeFailed:
    """The failure of an exchange, which contains no secret."""
    with pytest.raises(ExchangeFailed) as failed:
        await exchange(client, request, seconds, deadline)
    assert SECRET not in "".join(traceback.format_exception(failed.value))
    return failed.value


async def failure_at(client: ProviderClient, passed: asyncio.Event) -> ExchangeFailed:
    """The failure of an exchange whose deadline passes when the event is set."""
    deadline = Deadline.after(LONG)
    failing = asyncio.create_task(failure(client, deadline=deadline))
    await passed.wait()
    deadline.cap(asyncio.get_running_loop().time())
    return await failing


async def run_loop() -> None:
    """Let tasks go on until they wait for something outside: each step of an exchange takes a turn of the loop."""
    for _ in range(10):
        await asyncio.sleep(0)


def free_port() -> int:
    """A port of the loopback address on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


@asynccontextmanager
async def full_backlog() -> AsyncIterator[int]:
    """A port on which connecting never ends: it listens, its backlog is full, and it never accepts."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        pending = []
        for filler in fillers:
            filler.setblocking(False)
            pending.append(loop.create_task(loop.sock_connect(filler, listening.getsockname())))
        await asyncio.wait(pending, timeout=SHORT)
        try:
            yield listening.getsockname()[1]
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            for filler in fillers:
                filler.close()
