"""A switch to another PostgreSQL server: the old one becomes read-only and keeps its connections, as a fenced primary
does, and the address leads to the new one.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from time import monotonic

from gateway.store.base import StoreUnavailable
from gateway.store.models import EventFilter
from gateway.store.postgres import PostgresStore
from tests.gateway.store.postgres.inside import value
from tests.gateway.store.postgres.proxy import Proxy, proxied
from tests.gateway.store.samples import cash, deliver, opened, posting
from tests.stress.figures import Figures, at_most, exactly, timed
from tests.stress.processes import StressEnvironment
from tests.support.postgres import PostgresServer, postgres_server

MOVED_S = 5.0
"""Within which each user of a connection must be on the new server."""

LIMIT_S = 60.0


@dataclass(frozen=True)
class Switch:
    """A store whose address leads to one of two servers, and a store on the second server."""

    store: PostgresStore
    there: PostgresStore
    first: PostgresServer
    second: PostgresServer
    proxy: Proxy

    async def happens(self) -> None:
        """The first server becomes read-only, and new connections lead to the second."""
        self.proxy.lead_to(self.second.folder)
        await value(self.first.url("postgres"), "ALTER SYSTEM SET default_transaction_read_only = on")
        await value(self.first.url("postgres"), "SELECT pg_reload_conf()")


@asynccontextmanager
async def switch(first: PostgresServer, second: PostgresServer, name: str) -> AsyncIterator[Switch]:
    """Both servers have a database of this name, with the same account."""
    await value(first.url("postgres"), "ALTER SYSTEM RESET default_transaction_read_only")
    await value(first.url("postgres"), "SELECT pg_reload_conf()")
    for server in (first, second):
        await value(server.url("postgres"), f"CREATE DATABASE {name}")
    there = PostgresStore(second.url(name))
    with tempfile.TemporaryDirectory() as folder:
        async with proxied(first.folder, Path(folder)) as proxy:
            store = PostgresStore(first.url(name).replace(str(first.folder), folder))
            for each in (store, there):
                await each.open()
                await opened(each)
            try:
                yield Switch(store, there, first, second, proxy)
            finally:
                await store.close()
                await there.close()


async def moves(environment: StressEnvironment) -> Figures:
    """How long committer, readers, sequencer and listener take to be on the new server, each without the others."""
    figures: list[Figures] = []
    with postgres_server() as first, postgres_server() as second:
        for user in (_committer, _readers, _sequencer, _listener):
            name = user.__name__.removeprefix("_")
            environment.report(name)
            async with switch(first, second, name) as switched:
                figures.append(await user(switched))
    return sum(figures, ())


async def _committer(switched: Switch) -> Figures:
    """A provider delivers until it is answered."""
    await deliver(switched.store, posting("before"))
    await switched.happens()
    seconds = await _until(lambda: _credited(switched))
    return (
        timed(at_most("the committer moves within", MOVED_S, seconds, " s")),
        exactly("... and credits once, there", Decimal("10.50"), await cash(switched.there)),
    )


async def _readers(switched: Switch) -> Figures:
    """Nothing but reads, which the old server answers."""
    for _ in range(3):
        await asyncio.gather(*(switched.store.newest_event_id() for _ in range(6)))
    await deliver(switched.there, posting("there"))
    await switched.happens()
    seconds = await _until(lambda: _all_read(switched))
    return (timed(at_most("the readers move within", MOVED_S, seconds, " s")),)


async def _sequencer(switched: Switch) -> Figures:
    """Events of the new server are numbered by this store's sequencer, as that server has no other."""
    assert switched.there._connected is not None
    await switched.there._connected.sequencer.stop()
    await switched.happens()
    seconds = await _until(lambda: _credited(switched))
    seconds += await _until(lambda: _numbered(switched))
    return (timed(at_most("the sequencer moves within", MOVED_S, seconds, " s")),)


async def _listener(switched: Switch) -> Figures:
    """A subscriber who waits is woken by what another gateway commits there."""
    seen = await switched.store.events_committed(-1)
    await switched.happens()
    begun = monotonic()
    async with asyncio.timeout(LIMIT_S):
        waiting = asyncio.create_task(_woken(switched.store, seen))
        number = 0
        while not waiting.done():
            await deliver(switched.there, posting(f"there-{number}"))
            number += 1
            await asyncio.wait({waiting}, timeout=0.2)
    return (timed(at_most("the listener moves within", MOVED_S, monotonic() - begun, " s")),)


async def _woken(store: PostgresStore, seen: int) -> None:
    while not await store.events_after("", EventFilter(), 1):
        seen = await store.events_committed(seen)


async def _credited(switched: Switch) -> bool:
    """Whether the second server has the Result; the first may take it once more before it is read-only."""
    await deliver(switched.store, posting("after"))
    return bool(await cash(switched.there))


async def _all_read(switched: Switch) -> bool:
    balances = await asyncio.gather(*(cash(switched.store) for _ in range(6)))
    return set(balances) == {Decimal("10.50")}


async def _numbered(switched: Switch) -> bool:
    return bool(await switched.there.newest_event_id())


async def _until(holds: Callable[[], Awaitable[bool]]) -> float:
    """Seconds until it holds; while the store is not available it does not."""
    begun = monotonic()
    async with asyncio.timeout(LIMIT_S):
        while True:
            with suppress(StoreUnavailable):
                if await holds():
                    return monotonic() - begun
            await asyncio.sleep(0.02)
