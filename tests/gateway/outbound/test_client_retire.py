"""A client that another one replaces: calls that began with it finish, and no connection is kept."""

import asyncio

from adapters.contract import HttpRequest
from gateway.outbound.client import ProviderClient
from tests.gateway.outbound.harness import HeldProvider, client, exchange
from tests.gateway.outbound.raw_provider import raw_provider


def start(c: ProviderClient) -> "asyncio.Task[bytes]":
    async def send() -> bytes:
        return (await exchange(c, HttpRequest("POST", "/x"))).body

    return asyncio.create_task(send())


async def test_no_connection_is_kept() -> None:
    """Idle connections end at once; one of a call in progress, or of a later call, ends with its answer."""
    held = HeldProvider()
    async with raw_provider(held) as provided, client(provided.base_url) as c, asyncio.timeout(60):
        first, second = start(c), start(c)
        for _ in range(2):
            await held.requests.get()
        held.release()
        await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        c.retire()
        await held.disconnects.get()  # the idle one
        assert held.disconnects.empty()
        late = start(c)
        await held.requests.get()
        held.release(2)
        assert [await call for call in (first, second, late)] == [b"/x"] * 3
        for _ in range(2):
            await held.disconnects.get()
        assert provided.connections == 3


async def test_waiting_calls_get_a_connection_each() -> None:
    """No more connections are open at a time than before."""
    held = HeldProvider()
    async with raw_provider(held) as provided, client(provided.base_url, connections=1) as c, asyncio.timeout(60):
        calls = [start(c) for _ in range(3)]
        await held.requests.get()
        c.retire()
        held.release(3)
        assert await asyncio.gather(*calls) == [b"/x"] * 3
        for _ in range(3):
            await held.disconnects.get()
        assert provided.connections == 3


async def test_a_closed_client_may_retire() -> None:
    """It has no connection to end."""
    async with raw_provider(HeldProvider()) as provided:
        async with client(provided.base_url) as c:
            pass
        c.retire()
