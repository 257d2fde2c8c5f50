"""Switches as a gateway holds them: what others switch is seen, what was overtaken is not believed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from gateway.sessions.provider_switch import Disabled, ProviderSwitches
from gateway.store.base import ProviderSwitchStore, Store, StoreUnavailable
from gateway.store.factory import open_store
from gateway.store.models import ProviderState, ProviderStateChange

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
OFF, ON = ProviderState.DISABLED, ProviderState.ENABLED


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = open_store(f"sqlite:///{tmp_path / 'gateway.db'}")
    await store.open()
    yield store
    await store.close()


class Held:
    """A store whose looks are counted, and can be held up or made to fail."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.change_provider_state = store.change_provider_state
        self.read = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()
        self.error: Exception | None = None
        self.looks = 0

    async def current_provider_states(self) -> Sequence[ProviderStateChange]:
        self.looks += 1
        if self.error:
            raise self.error
        standing = await self._store.current_provider_states()
        self.read.set()
        await self.release.wait()
        return standing

    async def more_looks(self, count: int) -> None:
        until = self.looks + count
        async with asyncio.timeout(5):
            while self.looks < until:  # noqa: ASYNC110 - looks wake nobody
                await asyncio.sleep(0.002)


@asynccontextmanager
async def looking(book: object, every_s: float = 0.005) -> AsyncIterator[ProviderSwitches]:
    switches = ProviderSwitches(cast("ProviderSwitchStore", book), lambda: NOW, every_s=every_s)
    await switches.start()
    try:
        yield switches
    finally:
        await switches.stop()


async def test_what_stands_is_known_from_the_start(store: Store) -> None:
    """Also of a provider that is configured only later: its switch is the same whenever it is asked for."""
    await store.change_provider_state("acme", OFF, "ada", "repairs", NOW)
    async with looking(store, every_s=60) as switches:
        assert switches.of("acme").disabled == Disabled("ada", "repairs", NOW)
        assert switches.of("bolt").disabled is None
        assert switches.of("acme") is switches.of("acme")


async def test_a_switch_holds_here_at_once(store: Store) -> None:
    """Who switches does not wait for a look; each change is told to listeners, and only changes are."""
    told: list[bool] = []
    async with looking(store, every_s=60) as switches:
        switches.of("acme").listeners.append(lambda: told.append(switches.of("acme").disabled is None))
        await switches.change("acme", OFF, "ada", "repairs")
        assert switches.of("acme").disabled == Disabled("ada", "repairs", NOW)
        await switches.change("acme", OFF, "bob", "me too")
        assert switches.of("acme").disabled == Disabled("ada", "repairs", NOW)
        await switches.change("acme", ON, "bob", "repaired")
        assert switches.of("acme").disabled is None
    assert told == [False, True]


async def test_what_another_gateway_switches_is_seen(store: Store) -> None:
    """Each look applies what stands, and says who it was in the log, once."""
    book = Held(store)
    with capture_logs() as lines:
        async with looking(book) as switches:
            await store.change_provider_state("acme", OFF, "ada", "repairs", NOW)
            await book.more_looks(3)
            assert switches.of("acme").disabled == Disabled("ada", "repairs", NOW)
            await store.change_provider_state("acme", ON, "bob", "repaired", NOW)
            await book.more_looks(3)
            assert switches.of("acme").disabled is None
    said = [(line["provider"], line["to"], line["by"], line["why"]) for line in lines]
    assert said == [("acme", OFF, "ada", "repairs"), ("acme", ON, "bob", "repaired")]


async def test_a_look_that_was_overtaken_is_not_believed(store: Store) -> None:
    """What was read before a switch here, and comes after it, does not undo it."""
    book = Held(store)
    async with looking(book) as switches:
        await switches.change("acme", OFF, "ada", "repairs")
        book.read.clear()
        book.release.clear()
        await asyncio.wait_for(book.read.wait(), 5)
        await switches.change("acme", ON, "bob", "repaired")
        told: list[None] = []
        switches.of("acme").listeners.append(lambda: told.append(None))
        book.release.set()
        await book.more_looks(2)
        assert switches.of("acme").disabled is None
        assert not told


@pytest.mark.parametrize(
    ("error", "said"),
    [(StoreUnavailable("the disk is full"), "not known"), (RuntimeError("a bug"), "gateway error")],
    ids=["outage", "bug"],
)
async def test_looks_go_on_after_trouble(store: Store, error: Exception, said: str) -> None:
    """Neither an outage nor a bug ends them, and what was known stands meanwhile."""
    book = Held(store)
    with capture_logs() as lines:
        async with looking(book) as switches:
            await switches.change("acme", OFF, "ada", "repairs")
            book.error = error
            await book.more_looks(3)
            assert switches.of("acme").disabled
            book.error = None
            await store.change_provider_state("acme", ON, "bob", "repaired", NOW)
            await book.more_looks(3)
            assert switches.of("acme").disabled is None
    assert any(said in line["event"] for line in lines)
    assert isinstance(error, RuntimeError) or sum(said in line["event"] for line in lines) == 1


async def test_it_does_not_start_where_the_store_is_down(store: Store) -> None:
    """A gateway that cannot know what is off asks nobody; stopped it is all the same."""
    book = Held(store)
    book.error = StoreUnavailable("the disk is full")
    switches = ProviderSwitches(cast("ProviderSwitchStore", book), lambda: NOW)
    with pytest.raises(StoreUnavailable):
        await switches.start()
    await switches.stop()
