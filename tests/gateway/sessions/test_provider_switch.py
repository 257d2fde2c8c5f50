"""Provider states in a gateway: changes by other gateways apply, outdated reads do not."""

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
from tests.support.actors import ADA, BOB
from tests.support.waiting import until

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
OFF, ON = ProviderState.DISABLED, ProviderState.ENABLED


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = open_store(f"sqlite:///{tmp_path / 'gateway.db'}")
    await store.open()
    yield store
    await store.close()


class HeldStore:
    """A store whose reads are counted, and can be held up or made to fail."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.change_provider_state = store.change_provider_state
        self.read = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()
        self.error: Exception | None = None
        self.reads = 0

    async def current_provider_states(self) -> Sequence[ProviderStateChange]:
        self.reads += 1
        if self.error:
            raise self.error
        states = await self._store.current_provider_states()
        self.read.set()
        await self.release.wait()
        return states

    async def more_reads(self, count: int) -> None:
        target = self.reads + count
        await until(lambda: self.reads >= target)


@asynccontextmanager
async def polling(store: object, poll_interval_s: float = 0.005) -> AsyncIterator[ProviderSwitches]:
    switches = ProviderSwitches(cast("ProviderSwitchStore", store), lambda: NOW, poll_interval_s=poll_interval_s)
    await switches.start()
    try:
        yield switches
    finally:
        await switches.stop()


async def test_stored_states_apply_from_the_start(store: Store) -> None:
    """The state of a provider is always the same object, also of one that is configured later."""
    await store.change_provider_state("acme", OFF, ADA, "maintenance", NOW)
    async with polling(store, poll_interval_s=60) as switches:
        assert switches.of("acme").disabled == Disabled(ADA, "maintenance", NOW)
        assert switches.of("bolt").disabled is None
        assert switches.of("acme") is switches.of("acme")


async def test_a_change_applies_here_at_once(store: Store) -> None:
    """It does not wait for a poll. Listeners are called after each change, and only then."""
    seen: list[bool] = []
    async with polling(store, poll_interval_s=60) as switches:
        switches.of("acme").listeners.append(lambda: seen.append(switches.of("acme").disabled is None))
        await switches.change("acme", OFF, ADA, "maintenance")
        assert switches.of("acme").disabled == Disabled(ADA, "maintenance", NOW)
        await switches.change("acme", OFF, BOB, "me too")
        assert switches.of("acme").disabled == Disabled(ADA, "maintenance", NOW)
        await switches.change("acme", ON, BOB, "maintained")
        assert switches.of("acme").disabled is None
    assert seen == [False, True]


async def test_changes_by_another_gateway_apply(store: Store) -> None:
    """Each poll applies what is stored, and logs each change once."""
    held = HeldStore(store)
    with capture_logs() as lines:
        async with polling(held) as switches:
            await store.change_provider_state("acme", OFF, ADA, "maintenance", NOW)
            await held.more_reads(3)
            assert switches.of("acme").disabled == Disabled(ADA, "maintenance", NOW)
            await store.change_provider_state("acme", ON, BOB, "maintained", NOW)
            await held.more_reads(3)
            assert switches.of("acme").disabled is None
    keys = ("provider", "state", "actor", "on_behalf_of", "reason")
    assert [tuple(line[key] for key in keys) for line in lines] == [
        ("acme", "disabled", "backoffice", "ada", "maintenance"),
        ("acme", "enabled", "backoffice", "bob", "maintained"),
    ]


async def test_an_outdated_read_is_ignored(store: Store) -> None:
    """States that were read before a change here, and arrive after it, do not undo it."""
    held = HeldStore(store)
    async with polling(held) as switches:
        await switches.change("acme", OFF, ADA, "maintenance")
        held.read.clear()
        held.release.clear()
        await asyncio.wait_for(held.read.wait(), 60)
        await switches.change("acme", ON, BOB, "maintained")
        changes: list[None] = []
        switches.of("acme").listeners.append(lambda: changes.append(None))
        held.release.set()
        await held.more_reads(2)
        assert switches.of("acme").disabled is None
        assert not changes


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (StoreUnavailable("the disk is full"), "provider switch refresh failed"),
        (RuntimeError("a bug"), "gateway error"),
    ],
    ids=["outage", "bug"],
)
async def test_polling_goes_on_after_an_error(store: Store, error: Exception, event: str) -> None:
    """Neither an outage nor a bug ends it. The known states stay meanwhile, and an outage is logged once."""
    held = HeldStore(store)
    with capture_logs() as lines:
        async with polling(held) as switches:
            await switches.change("acme", OFF, ADA, "maintenance")
            held.error = error
            await held.more_reads(3)
            assert switches.of("acme").disabled
            held.error = None
            await store.change_provider_state("acme", ON, BOB, "maintained", NOW)
            await held.more_reads(3)
            assert switches.of("acme").disabled is None
    logged = sum(event in line["event"] for line in lines)
    assert logged == 1 if isinstance(error, StoreUnavailable) else logged >= 1


async def test_start_fails_where_the_store_is_down(store: Store) -> None:
    """A gateway that does not know which providers are disabled must not call any. `stop` has no effect then."""
    held = HeldStore(store)
    held.error = StoreUnavailable("the disk is full")
    switches = ProviderSwitches(cast("ProviderSwitchStore", held), lambda: NOW)
    with pytest.raises(StoreUnavailable):
        await switches.start()
    await switches.stop()
