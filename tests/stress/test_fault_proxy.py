"""The fault proxy itself, against a plain client: each fault is what it says, and what arrived is counted."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import closing, suppress

import pytest
import pytest_asyncio
from aiohttp import web

from tests.support import faults
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.faults import (
    Blackhole,
    Down,
    Fault,
    Hang,
    Huge,
    KeepAliveRace,
    Latency,
    Refuse,
    Reset,
    ResetPoint,
    SlowAnswer,
    Truncate,
    WrongType,
)
from tests.support.faulty_link import Receipt
from tests.support.provider import SUCCESS, ScriptedProvider, scripted_provider

LIMIT_S = 30.0
"""Bounds a hang."""
SILENCE_S = 0.1
"""A connection on which nothing ends for this long is silent."""
EXECUTED = Receipt(started=1, complete=1, executed=1)
NOT_EXECUTED = Receipt(started=1, complete=1)
PASSED_ON = Receipt(started=1, complete=1, executed=1, answered=1)


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[ScriptedProvider]:
    """A provider that answers at once."""
    async with scripted_provider() as provider:
        yield provider


@pytest_asyncio.fixture
async def proxy(provider: ScriptedProvider) -> AsyncIterator[FaultProxy]:
    """A proxy in front of it."""
    async with fault_proxy(provider.base_url) as proxy:
        yield proxy


class Client:
    """One connection, and what is received on it."""

    def __init__(self) -> None:
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self._received = b""

    async def connect(self, proxy: FaultProxy, within_s: float = LIMIT_S) -> None:
        """Connect. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            await asyncio.get_running_loop().sock_connect(self.sock, ("127.0.0.1", proxy.port))

    async def send(self, marker: str) -> None:
        """Send a request with this marker."""
        body = b'{"userId":"%s"}' % marker.encode()
        request = b"POST /close HTTP/1.1\r\nHost: p\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        await asyncio.get_running_loop().sock_sendall(self.sock, request)

    async def answer(self) -> bytes:
        """Receive one successful answer, whole."""
        async with asyncio.timeout(LIMIT_S):
            while not self._received.endswith(SUCCESS):
                await self._receive()
        answer, self._received = self._received, b""
        return answer

    async def end(self, awaited: bytes | None = None) -> tuple[bytes, str]:
        """Receive what comes, and how it ends: 'closed', 'reset', or 'silent' where it goes on after these bytes."""
        try:
            async with asyncio.timeout(LIMIT_S):
                while awaited is None or awaited not in self._received:
                    await self._receive()
            async with asyncio.timeout(SILENCE_S):
                while True:
                    await self._receive()
        except EOFError:
            return self._received, "closed"
        except ConnectionResetError:
            return self._received, "reset"
        except TimeoutError:
            return self._received, "silent"

    async def _receive(self) -> None:
        more = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
        if not more:
            raise EOFError
        self._received += more


async def call(proxy: FaultProxy, marker: str = "call-1") -> bytes:
    """Call once on a new connection; returns the successful answer."""
    client = Client()
    with closing(client.sock):
        await client.connect(proxy)
        await client.send(marker)
        return await client.answer()


async def fail(proxy: FaultProxy, awaited: bytes | None = None) -> tuple[bytes, str]:
    """Call once on a new connection; returns what is received, and how it ends."""
    client = Client()
    with closing(client.sock):
        await client.connect(proxy)
        await client.send("call-1")
        return await client.end(awaited)


async def test_without_a_fault_it_passes_on(proxy: FaultProxy, provider: ScriptedProvider) -> None:
    """Request and answer pass as they are, one after the other on one connection, and are counted by their call."""
    client = Client()
    with closing(client.sock):
        await client.connect(proxy)
        for marker in ("call-1", "call-2"):
            await client.send(marker)
            assert (await client.answer()).startswith(b"HTTP/1.1 200 OK")
    assert [each.body for each in provider.received] == [b'{"userId":"call-1"}', b'{"userId":"call-2"}']
    assert proxy.received.receipts == {"call-1": PASSED_ON, "call-2": PASSED_ON}
    assert (proxy.connections, proxy.received.begun, proxy.received.paths) == (1, 2, {"/close": 2})


@pytest.mark.parametrize(
    ("fault", "error", "within_s"), [(Down(), ConnectionRefusedError, LIMIT_S), (Blackhole(), TimeoutError, SILENCE_S)]
)
async def test_no_connection_is_accepted(
    proxy: FaultProxy, fault: Fault, error: type[OSError], within_s: float
) -> None:
    """Where the provider is down a connection is refused, and in a black hole it hangs, until the fault is gone."""
    client = Client()
    with closing(client.sock):
        await client.connect(proxy)
        await client.send("call-1")
        await client.answer()
        proxy.fault = fault
        assert await client.end() == (b"", "reset")  # open connections end with it
    with closing((another := Client()).sock), pytest.raises(error):
        await another.connect(proxy, within_s)
    assert proxy.connections == 1
    proxy.fault = None
    await call(proxy, "call-3")
    assert proxy.received.receipts == {"call-1": PASSED_ON, "call-3": PASSED_ON}


async def test_a_connection_is_reset_as_it_is_accepted(proxy: FaultProxy) -> None:
    """No part of a request is read; the caller may see the reset while it connects."""
    proxy.fault = Refuse()
    client = Client()
    with closing(client.sock), suppress(ConnectionResetError):
        await client.connect(proxy)
        assert await client.end() == (b"", "reset")
    assert (proxy.connections, proxy.received.begun, proxy.links) == (1, 0, set())


@pytest.mark.parametrize(
    ("moment", "receipt"),
    [(ResetPoint.BEFORE, Receipt(started=1)), (ResetPoint.DURING, Receipt(started=1)), (ResetPoint.AFTER, EXECUTED)],
)
async def test_a_reset_counts_what_arrived(
    proxy: FaultProxy, provider: ScriptedProvider, moment: ResetPoint, receipt: Receipt
) -> None:
    """What had arrived counts, whether or not it was read; the provider gets it only with a reset after."""
    proxy.fault = Reset(moment)
    assert await fail(proxy) == (b"", "reset")
    assert proxy.received.receipts == {"call-1": receipt}
    assert len(provider.received) == receipt.executed


@pytest.mark.parametrize(
    ("fault", "receipt", "received", "how"),
    [
        (Hang(), NOT_EXECUTED, b"", "silent"),
        (Hang(executed=True), EXECUTED, b"", "silent"),
        (SlowAnswer(head=True, interval_s=0.01), EXECUTED, b"HTTP", "silent"),
        (SlowAnswer(interval_s=0.01), EXECUTED, b'\r\n\r\n{"er', "silent"),
        (Truncate(), EXECUTED, b'\r\n\r\n{"error":0,"descr', "closed"),
        (faults.status(503), NOT_EXECUTED, b"HTTP/1.1 503 Simulated\r\n", "silent"),
        (faults.status(500, executed=True), EXECUTED, b"HTTP/1.1 500 Simulated\r\n", "silent"),
        (faults.garbage(), NOT_EXECUTED, b"not HTTP", "silent"),
        (faults.nonsense(), NOT_EXECUTED, b"any dialect", "silent"),
        (faults.page(), NOT_EXECUTED, b"<!doctype html>", "silent"),
        (faults.redirect("http://127.0.0.1/x"), NOT_EXECUTED, b"Location: http://127.0.0.1/x\r\n", "silent"),
        (faults.gzip_bomb(2**20), NOT_EXECUTED, b"Content-Encoding: gzip\r\n", "silent"),
        (Huge(100_000), NOT_EXECUTED, b" " * 100_000, "closed"),
        (WrongType(), PASSED_ON, b"Content-Type: image/png\r\n", "silent"),
    ],
    ids=str,
)
async def test_an_answer_goes_wrong(
    proxy: FaultProxy, provider: ScriptedProvider, fault: Fault, receipt: Receipt, received: bytes, how: str
) -> None:
    """The provider gets the request only where the fault says so, and its answer is changed as the fault says."""
    proxy.fault = fault
    answer, end = await fail(proxy, awaited=received if how == "silent" else None)
    assert (received in answer, end) == (True, how)
    assert proxy.received.receipts == {"call-1": receipt}
    assert len(provider.received) == receipt.executed


async def test_an_answer_is_late(proxy: FaultProxy) -> None:
    """It comes whole, no earlier than the fault says."""
    proxy.fault = Latency(0.05)
    begun = asyncio.get_running_loop().time()
    await call(proxy)
    assert asyncio.get_running_loop().time() - begun >= 0.05
    assert proxy.received.receipts == {"call-1": PASSED_ON}


async def test_a_kept_connection_ends_as_the_next_request_arrives(proxy: FaultProxy) -> None:
    """The first request is answered; the second has arrived, and is lost."""
    proxy.fault = KeepAliveRace()
    client = Client()
    with closing(client.sock):
        await client.connect(proxy)
        await client.send("call-1")
        await client.answer()
        await client.send("call-2")
        assert await client.end() == (b"", "reset")
    assert proxy.received.receipts == {"call-1": PASSED_ON, "call-2": Receipt(started=1)}


async def test_a_kept_connection_ends_by_itself(proxy: FaultProxy) -> None:
    """Soon after an answer it is closed, without notice."""
    proxy.fault = KeepAliveRace(seen=False)
    assert (await fail(proxy))[1] == "closed"
    assert proxy.received.receipts == {"call-1": PASSED_ON}


async def test_the_provider_executes_what_it_received(proxy: FaultProxy, provider: ScriptedProvider) -> None:
    """Neither a caller that leaves nor a connection that breaks stops the provider."""
    release = asyncio.Event()

    async def answer_later(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return await answered(request)

    answered, provider.behaviour = provider.behaviour, answer_later
    client = Client()
    with closing(client.sock):
        await client.connect(proxy)
        await client.send("call-1")
        await provider.arrived.wait()
        proxy.fault = Down()
        assert await client.end() == (b"", "reset")
    release.set()
    await proxy.wait_executed()
    assert proxy.received.receipts == {"call-1": EXECUTED}


async def test_what_has_no_marker_counts_too(proxy: FaultProxy) -> None:
    """The first bytes of a request that is never complete have arrived."""
    client = Client()
    with closing(client.sock):
        await client.connect(proxy)
        await asyncio.get_running_loop().sock_sendall(client.sock, b"POST /cl")
        client.sock.shutdown(socket.SHUT_WR)
        assert await client.end() == (b"", "closed")
    assert proxy.received.receipts == {"": Receipt(started=1)}
