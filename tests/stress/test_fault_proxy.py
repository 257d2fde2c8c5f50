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
    Drip,
    Fault,
    Hang,
    Huge,
    KeepAliveRace,
    Latency,
    Moment,
    Refuse,
    Reset,
    Truncate,
    WrongType,
)
from tests.support.faulty_link import Receipt
from tests.support.provider import SUCCESS, ScriptedProvider, scripted_provider

PATIENCE_S = 0.1
"""Seconds until a client gives up on what never comes."""
CARRIED_OUT = Receipt(begun=1, whole=1, carried_out=1)
NOT_CARRIED_OUT = Receipt(begun=1, whole=1)
PASSED_ON = Receipt(begun=1, whole=1, carried_out=1, answered=1)


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
    """One connection, and what is said on it."""

    def __init__(self) -> None:
        self.sock = socket.socket()
        self.sock.setblocking(False)

    async def connect(self, proxy: FaultProxy) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_connect(self.sock, ("127.0.0.1", proxy.port))

    async def send(self, marker: str) -> None:
        body = b'{"userId":"%s"}' % marker.encode()
        request = b"POST /close HTTP/1.1\r\nHost: p\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        await asyncio.get_running_loop().sock_sendall(self.sock, request)

    async def hear(self, until: bytes | None = None) -> tuple[bytes, str]:
        """What comes until these bytes end it, and how it ended: 'said', 'closed', 'reset' or 'silent'."""
        heard = b""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while until is None or not heard.endswith(until):
                    if not (more := await asyncio.get_running_loop().sock_recv(self.sock, 65536)):
                        return heard, "closed"
                    heard += more
        except TimeoutError:
            return heard, "silent"
        except ConnectionResetError:
            return heard, "reset"
        return heard, "said"


async def ask(proxy: FaultProxy, marker: str = "call-1", until: bytes | None = SUCCESS) -> tuple[bytes, str]:
    """Ask once, on a connection of its own."""
    client = Client()
    with closing(client.sock):
        await client.connect(proxy)
        await client.send(marker)
        return await client.hear(until)


async def test_without_a_fault_it_passes_on(proxy: FaultProxy, provider: ScriptedProvider) -> None:
    """Request and answer pass as they are, one after the other on one connection, and are counted by their call."""
    client = Client()
    with closing(client.sock):
        await client.connect(proxy)
        for marker in ("call-1", "call-2"):
            await client.send(marker)
            heard, how = await client.hear(SUCCESS)
            assert (heard.startswith(b"HTTP/1.1 200 OK"), how) == (True, "said")
    assert [each.body for each in provider.received] == [b'{"userId":"call-1"}', b'{"userId":"call-2"}']
    assert proxy.ledger.receipts == {"call-1": PASSED_ON, "call-2": PASSED_ON}
    assert (proxy.connections, proxy.ledger.begun, proxy.ledger.paths) == (1, 2, {"/close": 2})


@pytest.mark.parametrize(("fault", "error"), [(Down(), ConnectionRefusedError), (Blackhole(), TimeoutError)])
async def test_nobody_takes_the_connection(proxy: FaultProxy, fault: Fault, error: type[OSError]) -> None:
    """Where it is down a connection is refused, and in a black hole it hangs, until the fault is gone."""
    client = Client()
    with closing(client.sock):
        await client.connect(proxy)
        await client.send("call-1")
        await client.hear(SUCCESS)
        proxy.fault = fault
        assert await client.hear() == (b"", "reset")  # what stood is gone with it
    with pytest.raises(error):
        await ask(proxy, "call-2")
    assert proxy.connections == 1
    proxy.fault = None
    assert (await ask(proxy, "call-3"))[1] == "said"
    assert proxy.ledger.receipts == {"call-1": PASSED_ON, "call-3": PASSED_ON}


async def test_a_connection_is_reset_as_it_is_accepted(proxy: FaultProxy) -> None:
    """Nothing of a request is taken; a caller may hear of it while it still connects."""
    proxy.fault = Refuse()
    client = Client()
    with closing(client.sock), suppress(ConnectionResetError):
        await client.connect(proxy)
        assert await client.hear() == (b"", "reset")
    assert (proxy.connections, proxy.ledger.begun, proxy.links) == (1, 0, set())


@pytest.mark.parametrize(
    ("moment", "receipt"),
    [(Moment.BEFORE, Receipt(begun=1)), (Moment.DURING, Receipt(begun=1)), (Moment.AFTER, CARRIED_OUT)],
)
async def test_a_reset_counts_what_arrived(
    proxy: FaultProxy, provider: ScriptedProvider, moment: Moment, receipt: Receipt
) -> None:
    """Whatever had arrived counts, whether or not it was read; the provider has got it only after."""
    proxy.fault = Reset(moment)
    assert await ask(proxy) == (b"", "reset")
    assert proxy.ledger.receipts == {"call-1": receipt}
    assert len(provider.received) == receipt.carried_out


@pytest.mark.parametrize(
    ("fault", "receipt", "heard", "how"),
    [
        (Hang(), NOT_CARRIED_OUT, b"", "silent"),
        (Hang(carried_out=True), CARRIED_OUT, b"", "silent"),
        (Drip(head=True, interval_s=0.01), CARRIED_OUT, b"HTTP", "silent"),
        (Drip(interval_s=0.01), CARRIED_OUT, b'\r\n\r\n{"er', "silent"),
        (Truncate(), CARRIED_OUT, b'\r\n\r\n{"error":0,"descr', "closed"),
        (faults.status(503), NOT_CARRIED_OUT, b"HTTP/1.1 503 Simulated\r\n", "silent"),
        (faults.status(500, carried_out=True), CARRIED_OUT, b"HTTP/1.1 500 Simulated\r\n", "silent"),
        (faults.garbage(), NOT_CARRIED_OUT, b"not HTTP", "silent"),
        (faults.nonsense(), NOT_CARRIED_OUT, b"any dialect", "silent"),
        (faults.page(), NOT_CARRIED_OUT, b"<!doctype html>", "silent"),
        (faults.redirect("http://127.0.0.1/x"), NOT_CARRIED_OUT, b"Location: http://127.0.0.1/x\r\n", "silent"),
        (faults.gzip_bomb(2**20), NOT_CARRIED_OUT, b"Content-Encoding: gzip\r\n", "silent"),
        (Huge(100_000), NOT_CARRIED_OUT, b" " * 100_000, "closed"),
        (WrongType(), PASSED_ON, b"Content-Type: image/png\r\n", "silent"),
    ],
    ids=str,
)
async def test_an_answer_goes_wrong(
    proxy: FaultProxy, provider: ScriptedProvider, fault: Fault, receipt: Receipt, heard: bytes, how: str
) -> None:
    """The provider gets the request only where the fault says so, and is heard as the fault has it."""
    proxy.fault = fault
    said, end = await ask(proxy, until=None)
    assert (heard in said, end) == (True, how)
    assert proxy.ledger.receipts == {"call-1": receipt}
    assert len(provider.received) == receipt.carried_out


async def test_an_answer_is_late(proxy: FaultProxy) -> None:
    """It comes whole, no earlier than told."""
    proxy.fault = Latency(0.05)
    begun = asyncio.get_running_loop().time()
    assert (await ask(proxy))[1] == "said"
    assert asyncio.get_running_loop().time() - begun >= 0.05
    assert proxy.ledger.receipts == {"call-1": PASSED_ON}


async def test_a_kept_connection_ends_as_the_next_request_arrives(proxy: FaultProxy) -> None:
    """The first request is answered; the second has arrived, and is lost."""
    proxy.fault = KeepAliveRace()
    client = Client()
    with closing(client.sock):
        await client.connect(proxy)
        await client.send("call-1")
        assert (await client.hear(SUCCESS))[1] == "said"
        await client.send("call-2")
        assert await client.hear() == (b"", "reset")
    assert proxy.ledger.receipts == {"call-1": PASSED_ON, "call-2": Receipt(begun=1)}


async def test_a_kept_connection_ends_by_itself(proxy: FaultProxy) -> None:
    """Soon after an answer it is closed, without a word."""
    proxy.fault = KeepAliveRace(seen=False)
    assert (await ask(proxy, until=None))[1] == "closed"
    assert proxy.ledger.receipts == {"call-1": PASSED_ON}


async def test_the_provider_carries_out_what_it_has_got(proxy: FaultProxy, provider: ScriptedProvider) -> None:
    """A caller that leaves, and a line that goes down, change nothing about what the provider does."""
    release = asyncio.Event()

    async def carry_out_slowly(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return await answered(request)

    answered, provider.behaviour = provider.behaviour, carry_out_slowly
    client = Client()
    with closing(client.sock):
        await client.connect(proxy)
        await client.send("call-1")
        await provider.arrived.wait()
        proxy.fault = Down()
        assert await client.hear() == (b"", "reset")
    release.set()
    await proxy.carried_out()
    assert proxy.ledger.receipts == {"call-1": CARRIED_OUT}


async def test_what_has_no_marker_counts_too(proxy: FaultProxy) -> None:
    """The first bytes of a request that never gets whole have arrived."""
    client = Client()
    with closing(client.sock):
        await client.connect(proxy)
        await asyncio.get_running_loop().sock_sendall(client.sock, b"POST /cl")
        client.sock.shutdown(socket.SHUT_WR)
        assert await client.hear() == (b"", "closed")
    assert proxy.ledger.receipts == {"": Receipt(begun=1)}
