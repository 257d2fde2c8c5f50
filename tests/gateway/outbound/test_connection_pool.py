"""Connections are few, kept while they are good, shared in turn, and never used where an answer could be another's."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from adapters.contract import HttpReply, HttpRequest
from gateway.outbound import connection_pool as pools
from gateway.outbound.client import ExchangeFault, ProviderClient
from gateway.outbound.connection import Connection
from gateway.outbound.connection_pool import Addresses, ConnectionPool, PoolClosed
from gateway.outbound.deadline import Deadline
from gateway.outbound.request_writer import RequestWriter
from tests.gateway.outbound.calling import CLOSE, ENOUGH, SOON, client, exchange, failure
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider

Exchange = asyncio.Task[HttpReply]


class Gate:
    """A provider that answers when it is told to, with the path that it was asked for."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self._may_answer = asyncio.Semaphore(0)

    async def __call__(self, peer: Peer) -> None:
        while True:
            path = (await peer.request()).split()[1]
            self.asked.put_nowait(path.decode())
            await self._may_answer.acquire()
            await peer.send(answer(path))

    def open(self, times: int = 1) -> None:
        """Let so many answers out."""
        for _ in range(times):
            self._may_answer.release()


def ask(c: ProviderClient, path: str) -> Exchange:
    return asyncio.get_running_loop().create_task(exchange(c, HttpRequest("POST", path)))


async def turns() -> None:
    """Let what can go on go on: each step of an exchange that waits for nothing outside takes a turn."""
    for _ in range(10):
        await asyncio.sleep(0)


# --- Bounded, and in turn ---------------------------------------------------------------------------------------------


async def test_no_more_connections_are_opened_than_allowed() -> None:
    """Ten calls over three connections are all answered, each with its own answer."""
    gate = Gate()
    async with raw_provider(gate) as provided, client(provided.base_url, connections=3) as c:
        gate.open(2)
        for path in ("/a", "/b"):  # one that is opened, and one that is at hand
            await ask(c, path)
            assert await gate.asked.get() == path
        calls = [ask(c, f"/{number}") for number in range(10)]
        for _ in range(3):
            await gate.asked.get()
        await turns()
        assert gate.asked.empty()
        gate.open(10)
        assert [reply.body for reply in await asyncio.gather(*calls)] == [b"/%d" % number for number in range(10)]
        assert provided.connections == 3


async def test_who_waits_longest_is_served_first() -> None:
    """Calls that wait for a connection get it in the order in which they came, before any that comes later."""
    gate = Gate()
    async with raw_provider(gate) as provided, client(provided.base_url, connections=1) as c:
        calls = []
        for number in range(4):
            calls.append(ask(c, f"/{number}"))
            await turns()
        for number in range(4):
            assert await gate.asked.get() == f"/{number}"
            gate.open()
            await calls[number]
            if number == 0:
                calls.append(ask(c, "/4"))
        assert await gate.asked.get() == "/4"
        gate.open()
        await calls[4]


async def test_nobody_comes_in_between() -> None:
    """A call that asks again the moment it is answered waits behind those who waited."""
    gate = Gate()
    async with raw_provider(gate) as provided, client(provided.base_url, connections=1) as c:

        async def two() -> None:
            await exchange(c, HttpRequest("POST", "/1"))
            await exchange(c, HttpRequest("POST", "/3"))

        asking = asyncio.get_running_loop().create_task(two())
        assert await gate.asked.get() == "/1"
        waiting = ask(c, "/2")
        await turns()
        gate.open(3)
        await asyncio.gather(asking, waiting)
        assert [gate.asked.get_nowait() for _ in range(2)] == ["/2", "/3"]
        assert provided.connections == 1


@pytest.mark.parametrize("at_once", [False, True], ids=["while it waits", "as its turn comes"])
async def test_who_gives_up_waiting_takes_nothing_along(at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled call leaves its place to those behind it, even where it is cancelled as its turn comes."""
    gate = Gate()
    async with raw_provider(gate) as provided, client(provided.base_url, connections=1) as c:
        first, second, third = (ask(c, path) for path in ("/1", "/2", "/3"))
        await gate.asked.get()
        give_back = ConnectionPool.give_back

        def give_back_and_cancel(pool: ConnectionPool, connection: Connection) -> None:
            give_back(pool, connection)
            second.cancel()

        if at_once:
            monkeypatch.setattr(ConnectionPool, "give_back", give_back_and_cancel)
        else:
            second.cancel()
        gate.open(2)
        assert (await first).body == b"/1"
        with pytest.raises(asyncio.CancelledError):
            await second
        assert (await third).body == b"/3"
        assert provided.connections == 1


async def test_a_failure_gives_its_place_back() -> None:
    """Where no connection comes about, or one is lost, the next call may try: nothing of the bound is used up."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        if peer.provider.connections > 3:
            await peer.send(answer())

    async with raw_provider(provider) as provided, client(provided.base_url, connections=1) as c:
        for _ in range(3):
            assert (await failure(c)).fault is ExchangeFault.CONNECTION_LOST
        assert (await exchange(c)).status == 200


# --- Kept while they are good -----------------------------------------------------------------------------------------


async def test_what_was_used_last_is_used_next() -> None:
    """The connection that is surely alive is taken, so that those which a quiet time does not need can go."""
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


async def test_a_connection_that_nobody_needs_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider does not have to hold a connection for us that is not used; until then it is kept."""
    monkeypatch.setattr(pools, "_IDLE_S", SOON)
    hung_up_after: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())
        answered_at = asyncio.get_running_loop().time()
        await peer.hang()
        hung_up_after.set_result(asyncio.get_running_loop().time() - answered_at)

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        await exchange(c)
        assert await hung_up_after > SOON - 0.05


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        answer() + b"HTTP/1.1 200 OK\r\n",
        answer() + b"garbage",
    ],
    ids=["closes", "HTTP/1.0", "another answer", "garbage"],
)
async def test_a_connection_that_cannot_be_trusted_is_not_used_again(said: bytes) -> None:
    """Where the provider closes, or has said more than was asked, the next request goes over another connection."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(said)
        await peer.hang()

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        for number in (1, 2):
            assert (await exchange(c)).body == b"{}"
            assert (provided.connections, len(provided.requests)) == (number, number)


async def test_an_answer_before_the_request_was_read_ends_the_connection() -> None:
    """What is left of an unread request would be taken for the next one."""

    async def provider(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(answer(b"too large", b"HTTP/1.1 413 X\r\n"))
        await peer.hang()

    large = HttpRequest("POST", "/x", body=b"x" * 20_000_000)
    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        for number in (1, 2):
            assert (await exchange(c, large)).status == 413
            assert provided.connections == number


@pytest.mark.parametrize("unread", [b"", answer(b"unasked")], ids=["its end", "an answer"])
async def test_what_the_system_holds_unread_is_heard_before_asking(unread: bytes) -> None:
    """An end, or an answer to nothing, that came while the gateway did not listen does not meet the next request."""
    loop = asyncio.get_running_loop()

    def serve(listening: socket.socket) -> socket.socket:
        peer, _ = listening.accept()
        peer.recv(65536)
        return peer

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5.0)
        port = listening.getsockname()[1]
        async with client(f"http://127.0.0.1:{port}") as c:
            first = ask(c, "/1")
            peer = await loop.run_in_executor(None, serve, listening)
            peer.sendall(answer(b"first"))
            assert (await first).body == b"first"
            if unread:
                peer.sendall(unread)
            peer.close()  # and the event loop does not get to hear of it before the next request is made
            second = ask(c, "/2")
            with await loop.run_in_executor(None, serve, listening) as another:
                another.sendall(answer(b"second"))
                assert (await second).body == b"second"


async def test_a_request_after_a_stale_connection_is_sent_once() -> None:
    """Connections that the provider has closed in the meantime are passed over, and nothing is sent on them."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())

    async with raw_provider(provider) as provided, client(provided.base_url) as c:
        for number in range(1, 6):
            await exchange(c)
            assert (provided.connections, len(provided.requests)) == (number, number)
            await turns()


# --- Closed -----------------------------------------------------------------------------------------------------------


async def test_closing_lets_nobody_wait() -> None:
    """Who waits for a connection as the gateway stops hears that nothing was sent; who comes later is told of a bug."""
    gate = Gate()
    async with raw_provider(gate) as provided, client(provided.base_url, connections=1) as c:
        under_way = asyncio.get_running_loop().create_task(failure(c))
        await gate.asked.get()
        waiting = [asyncio.get_running_loop().create_task(failure(c)) for _ in range(3)]
        await turns()
        await c.close()
        assert (await under_way).fault is ExchangeFault.CONNECTION_LOST
        for failed in await asyncio.gather(*waiting):
            assert (failed.fault, failed.sent) == (ExchangeFault.UNREACHABLE, False)
            assert "stopping" in failed.detail
        with pytest.raises(RuntimeError, match="acme"):
            await exchange(c)
        assert provided.connections == 1


# --- Where to connect -------------------------------------------------------------------------------------------------


class Names(AbstractResolver):
    """A resolver that knows one name, and counts how often it is asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        assert family == socket.AF_UNSPEC, "IPv6 too"
        self.asked += 1
        await self.may_answer.wait()
        if not self.addresses:
            raise OSError("nobody knows it")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def pool_of(port: int, names: Names) -> AsyncIterator[ConnectionPool]:
    pool = ConnectionPool(RequestWriter(f"http://provider.example:{port}"), names, 10, 65536)
    try:
        yield pool
    finally:
        await pool.close()


async def test_where_one_address_fails_the_next_is_tried() -> None:
    """A provider with several addresses is reached as long as one of them answers."""

    async def provider(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())

    async with raw_provider(provider) as provided, pool_of(provided.port, Names("127.0.0.2", "127.0.0.1")) as pool:
        connection = await pool.take()
        message = RequestWriter(provided.base_url).message(CLOSE)
        assert (await connection.send_request(message, Deadline.after(ENOUGH), head=False)).status == 200
        pool.give_back(connection)


async def test_a_connection_that_comes_about_too_late_is_closed() -> None:
    """Who is connecting as the gateway stops hears so, and leaves no connection behind."""
    hung_up = asyncio.Event()

    async def provider(peer: Peer) -> None:
        await peer.hang()
        hung_up.set()

    names = Names("127.0.0.1")
    names.may_answer.clear()
    async with raw_provider(provider) as provided, pool_of(provided.port, names) as pool:
        connecting = asyncio.get_running_loop().create_task(pool.take())
        await turns()
        await pool.close()
        names.may_answer.set()
        with pytest.raises(PoolClosed):
            await connecting
        await asyncio.wait_for(hung_up.wait(), ENOUGH)


async def test_a_name_is_looked_up_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many connections at once, and those soon after, cost one look-up; later ones look again."""
    names = Names("127.0.0.1", "127.0.0.2")
    names.may_answer.clear()
    addresses = Addresses(names, "provider.example", 80)
    at_once = [asyncio.get_running_loop().create_task(addresses.next()) for _ in range(5)]
    await turns()
    at_once[0].cancel()  # it is nobody's own
    names.may_answer.set()
    await asyncio.gather(*at_once, return_exceptions=True)
    first, second = await addresses.next(), await addresses.next()
    assert names.asked == 1
    assert first == second[::-1], "each begins with another address"
    monkeypatch.setattr(pools, "_LOOK_UP_S", 0.0)
    addresses = Addresses(names, "provider.example", 80)
    for _ in range(2):
        await addresses.next()
    assert names.asked == 3


async def test_a_look_up_that_failed_is_not_kept() -> None:
    """A name that was unknown a moment ago is asked for again."""
    names = Names()
    addresses = Addresses(names, "provider.example", 80)
    for asked in (1, 2):
        with pytest.raises(OSError, match="nobody knows it"):
            await addresses.next()
        assert names.asked == asked
