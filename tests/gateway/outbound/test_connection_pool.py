"""Connections are limited, reused, shared in order of arrival, and never used where an answer could be wrong."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohappyeyeballs import AddrInfoType

from adapters.contract import HttpReply, HttpRequest
from gateway.outbound import connection_pool as pools
from gateway.outbound.client import ExchangeFault, ProviderClient
from gateway.outbound.connection import Connection
from gateway.outbound.connection_pool import Addresses, ConnectionPool, PoolClosed
from gateway.outbound.deadline import Deadline
from gateway.outbound.request_writer import RequestWriter
from tests.gateway.outbound.harness import CLOSE, LONG, SHORT, HeldProvider, client, exchange, failure, run_loop
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider

Exchange = asyncio.Task[HttpReply]


def start(c: ProviderClient, path: str) -> Exchange:
    return asyncio.get_running_loop().create_task(exchange(c, HttpRequest("POST", path)))


# --- Limited, and in order of arrival ---------------------------------------------------------------------------------


async def test_the_number_of_connections_is_limited() -> None:
    """Ten calls over three connections each receive their own answer."""
    held = HeldProvider()
    async with raw_provider(held) as provided, client(provided.base_url, connections=3) as c:
        held.release(2)
        for path in ("/a", "/b"):  # a new connection, and an idle one
            await start(c, path)
            assert await held.requests.get() == path
        calls = [start(c, f"/{number}") for number in range(10)]
        for _ in range(3):
            await held.requests.get()
        await run_loop()
        assert held.requests.empty()
        held.release(10)
        assert [reply.body for reply in await asyncio.gather(*calls)] == [b"/%d" % number for number in range(10)]
        assert provided.connections == 3


async def test_waiting_calls_are_served_in_order_of_arrival() -> None:
    """A later call does not overtake them."""
    held = HeldProvider()
    async with raw_provider(held) as provided, client(provided.base_url, connections=1) as c:
        calls = []
        for number in range(4):
            calls.append(start(c, f"/{number}"))
            await run_loop()
        for number in range(4):
            assert await held.requests.get() == f"/{number}"
            held.release()
            await calls[number]
            if number == 0:
                calls.append(start(c, "/4"))
        assert await held.requests.get() == "/4"
        held.release()
        await calls[4]


async def test_a_released_connection_goes_to_the_next_waiting_call() -> None:
    """A call that is started as soon as another ends waits behind those that waited before it."""
    held = HeldProvider()
    async with raw_provider(held) as provided, client(provided.base_url, connections=1) as c:

        async def two() -> None:
            await exchange(c, HttpRequest("POST", "/1"))
            await exchange(c, HttpRequest("POST", "/3"))

        both = asyncio.get_running_loop().create_task(two())
        assert await held.requests.get() == "/1"
        waiting = start(c, "/2")
        await run_loop()
        held.release(3)
        await asyncio.gather(both, waiting)
        assert [held.requests.get_nowait() for _ in range(2)] == ["/2", "/3"]
        assert provided.connections == 1


@pytest.mark.parametrize("at_once", [False, True], ids=["while it waits", "as its turn comes"])
async def test_a_cancelled_call_leaves_its_slot(at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next waiting call gets it, also where the call is cancelled as its turn comes."""
    held = HeldProvider()
    async with raw_provider(held) as provided, client(provided.base_url, connections=1) as c:
        first, second, third = (start(c, path) for path in ("/1", "/2", "/3"))
        await held.requests.get()
        release = ConnectionPool.release

        def release_and_cancel(pool: ConnectionPool, connection: Connection) -> None:
            release(pool, connection)
            second.cancel()

        if at_once:
            monkeypatch.setattr(ConnectionPool, "release", release_and_cancel)
        else:
            second.cancel()
        held.release(2)
        assert (await first).body == b"/1"
        with pytest.raises(asyncio.CancelledError):
            await second
        assert (await third).body == b"/3"
        assert provided.connections == 1


async def test_a_failure_releases_its_slot() -> None:
    """The next call may open a connection after one was lost."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        if peer.provider.connections > 3:
            await peer.send(answer())

    async with raw_provider(provider) as provided, client(provided.base_url, connections=1) as c:
        for _ in range(3):
            assert (await failure(c)).fault is ExchangeFault.CONNECTION_LOST
        assert (await exchange(c)).status == 200


# --- Reused -----------------------------------------------------------------------------------------------------------


async def test_the_last_used_connection_is_used_next() -> None:
    """It is the most likely to be open, and connections that are not needed become idle."""
    used = []

    async def provider(peer: Peer) -> None:
        mine = peer.provider.connections
        while await peer.request():
            used.append(mine)
            await peer.send(answer())

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        await asyncio.gather(exchange(c), exchange(c))
        last = used[-1]
        for _ in range(3):
            await exchange(c)
        assert used[2:] == [last] * 3


async def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed after the maximum idle time, and not before."""
    monkeypatch.setattr(pools, "_MAX_IDLE_S", SHORT)
    loop = asyncio.get_running_loop()
    closed_at: asyncio.Future[float] = loop.create_future()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())
        await peer.hang()
        closed_at.set_result(loop.time())

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        started_at = loop.time()
        await exchange(c)
        assert await closed_at >= started_at + SHORT


async def test_a_busy_connection_is_replaced_at_its_maximum_age() -> None:
    """One that is never idle would not notice that the provider's name leads elsewhere by now."""
    used: list[Peer] = []

    async def provider(peer: Peer) -> None:
        while await peer.request():
            used.append(peer)
            await peer.send(answer())

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        for passed_s in (0.0, pools._MAX_AGE_S - 1.0, 1.0, 0.0):
            await exchange(c)
            assert c._pool is not None
            for connection in c._pool._idle:
                connection.opened_at -= passed_s
        await exchange(c)
    first = used[0]
    assert [peer is first for peer in used] == [True, True, True, True, False]


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        answer() + b"HTTP/1.1 200 OK\r\n",
        answer() + b"garbage",
    ],
    ids=["closes", "HTTP/1.0", "another answer", "garbage"],
)
async def test_a_connection_with_an_uncertain_state_is_not_reused(sent: bytes) -> None:
    """Where the provider closes it or has sent more than the answer, the next request uses another connection."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        for number in (1, 2):
            assert (await exchange(c)).body == b"{}"
            assert (provided.connections, len(provided.requests)) == (number, number)


async def test_an_answer_before_the_request_was_read_ends_the_connection() -> None:
    """The rest of the unread request would be read as the next one."""

    async def provider(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(answer(b"too large", b"HTTP/1.1 413 X\r\n"))
        await peer.hang()

    large = HttpRequest("POST", "/x", body=b"x" * 20_000_000)
    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        for number in (1, 2):
            assert (await exchange(c, large)).status == 413
            assert provided.connections == number


@pytest.mark.parametrize("unread", [b"", answer(b"unasked")], ids=["end", "answer"])
async def test_unread_data_is_detected_before_sending(unread: bytes) -> None:
    """The next request does not use a connection whose end or unrequested answer the event loop has not read yet."""
    loop = asyncio.get_running_loop()

    def serve(listening: socket.socket) -> socket.socket:
        peer, _ = listening.accept()
        peer.recv(65536)
        return peer

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5.0)
        port = listening.getsockname()[1]
        async with client(f"http://127.0.0.1:{port}") as c:
            first = start(c, "/1")
            peer = await loop.run_in_executor(None, serve, listening)
            peer.sendall(answer(b"first"))
            assert (await first).body == b"first"
            if unread:
                peer.sendall(unread)
            peer.close()  # the event loop does not read it before the next request is sent
            second = start(c, "/2")
            with await loop.run_in_executor(None, serve, listening) as another:
                another.sendall(answer(b"second"))
                assert (await second).body == b"second"


async def test_a_request_after_a_closed_connection_is_sent_once() -> None:
    """Nothing is sent on a connection that the provider has closed meanwhile."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        for number in range(1, 6):
            await exchange(c)
            assert (provided.connections, len(provided.requests)) == (number, number)
            await run_loop()


# --- Closed -----------------------------------------------------------------------------------------------------------


async def test_closing_ends_every_wait() -> None:
    """Calls that wait for a connection receive NOT_SENT, and later calls raise RuntimeError."""
    held = HeldProvider()
    async with raw_provider(held) as provided, client(provided.base_url, connections=1) as c:
        in_progress = asyncio.get_running_loop().create_task(failure(c))
        await held.requests.get()
        waiting = [asyncio.get_running_loop().create_task(failure(c)) for _ in range(3)]
        await run_loop()
        await c.close()
        assert (await in_progress).fault is ExchangeFault.CONNECTION_LOST
        for failed in await asyncio.gather(*waiting):
            assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
            assert "stopping" in failed.detail
        with pytest.raises(RuntimeError, match="acme"):
            await exchange(c)
        assert provided.connections == 1


# --- Addresses --------------------------------------------------------------------------------------------------------


class FakeResolver:
    """Resolves any name to fixed addresses, and counts its queries."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.queries = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, host: str, port: int) -> list[AddrInfoType]:
        self.queries += 1
        await self.may_answer.wait()
        if not self.addresses:
            raise OSError("unknown name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in self.addresses]


@asynccontextmanager
async def pool_of(port: int, names: FakeResolver) -> AsyncIterator[ConnectionPool]:
    pool = ConnectionPool(RequestWriter(f"http://provider.example:{port}"), names, 10, 65536)
    try:
        yield pool
    finally:
        await pool.close()


async def test_the_next_address_is_tried_after_a_failure() -> None:
    """A provider is reached where one of its addresses answers."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())

    async with (
        raw_provider(provider) as provided,
        pool_of(provided.port, FakeResolver("127.0.0.2", "127.0.0.1")) as pool,
    ):
        connection = await pool.acquire()
        message = RequestWriter(provided.base_url).serialize(CLOSE)
        assert (await connection.send_request(message, Deadline.after(LONG), head=False)).status == 200
        pool.release(connection)


async def test_a_connection_opened_while_the_pool_closes_is_closed() -> None:
    """The call raises PoolClosed, and no connection stays open."""
    disconnected = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.hang()
        disconnected.set()

    names = FakeResolver("127.0.0.1")
    names.may_answer.clear()
    async with raw_provider(provider) as provided, pool_of(provided.port, names) as pool:
        connecting = asyncio.get_running_loop().create_task(pool.acquire())
        await run_loop()
        await pool.close()
        names.may_answer.set()
        with pytest.raises(PoolClosed):
            await connecting
        await asyncio.wait_for(disconnected.wait(), LONG)


async def test_concurrent_connections_share_a_dns_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that are opened soon after use its result, and later ones query again."""
    names = FakeResolver("127.0.0.1", "127.0.0.2")
    names.may_answer.clear()
    addresses = Addresses(names, "provider.example", 80)
    at_once = [asyncio.get_running_loop().create_task(addresses.next()) for _ in range(5)]
    await run_loop()
    at_once[0].cancel()  # the others still get the result
    names.may_answer.set()
    await asyncio.gather(*at_once, return_exceptions=True)
    first, second = await addresses.next(), await addresses.next()
    assert names.queries == 1
    assert first == second[::-1], "each call begins with another address"
    monkeypatch.setattr(pools, "_DNS_TTL_S", 0.0)
    addresses = Addresses(names, "provider.example", 80)
    for _ in range(2):
        await addresses.next()
    assert names.queries == 3


async def test_a_failed_dns_query_is_not_cached() -> None:
    """An unknown name is queried again."""
    names = FakeResolver()
    addresses = Addresses(names, "provider.example", 80)
    for queries in (1, 2):
        with pytest.raises(OSError, match="unknown name"):
            await addresses.next()
        assert names.queries == queries
