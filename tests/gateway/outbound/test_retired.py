"""A client that another one replaces: calls that began with it are carried out, and no connection is kept."""

import asyncio

from adapters.contract import HttpRequest
from gateway.outbound.client import ProviderClient
from tests.gateway.outbound.calling import client, exchange
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider


class Held:
    """A provider that answers when it may, and counts who is connected to it."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[bytes] = asyncio.Queue()
        self.left: asyncio.Queue[None] = asyncio.Queue()
        self.may_answer = asyncio.Semaphore(0)

    async def __call__(self, peer: Peer) -> None:
        try:
            while True:
                self.asked.put_nowait((await peer.request()).split()[1])
                await self.may_answer.acquire()
                await peer.send(answer(b"answered"))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.left.put_nowait(None)


def ask(c: ProviderClient) -> "asyncio.Task[bytes]":
    async def asked() -> bytes:
        return (await exchange(c, HttpRequest("POST", "/"))).body

    return asyncio.create_task(asked())


async def test_no_connection_is_kept() -> None:
    """Idle ones end at once; one with a call under way, or of a call that comes late, when that is answered."""
    held = Held()
    async with raw_provider(held) as provided, client(provided.base_url) as c, asyncio.timeout(20):
        under_way, other = ask(c), ask(c)
        for _ in range(2):
            await held.asked.get()
        held.may_answer.release()
        await asyncio.wait({under_way, other}, return_when=asyncio.FIRST_COMPLETED)
        c.retire()
        await held.left.get()  # the idle one
        assert held.left.empty()
        late = ask(c)
        await held.asked.get()
        held.may_answer.release()
        held.may_answer.release()
        assert [await call for call in (under_way, other, late)] == [b"answered"] * 3
        for _ in range(2):
            await held.left.get()
        assert provided.connections == 3


async def test_who_waits_for_a_connection_gets_one() -> None:
    """Each has one of its own then, and no more are open at a time than before."""
    held = Held()
    async with raw_provider(held) as provided, client(provided.base_url, connections=1) as c, asyncio.timeout(20):
        calls = [ask(c) for _ in range(3)]
        await held.asked.get()
        c.retire()
        for _ in range(3):
            held.may_answer.release()
        assert await asyncio.gather(*calls) == [b"answered"] * 3
        for _ in range(3):
            await held.left.get()
        assert provided.connections == 3


async def test_a_client_that_never_started_may_retire() -> None:
    """There is nothing to let go of."""
    async with raw_provider(Held()) as provided:
        async with client(provided.base_url) as c:
            pass
        c.retire()
