"""Switches: kept once each, in order, with a line in the provider's journal."""

import asyncio
from datetime import timedelta

import pytest

from gateway.store.base import PageTokenUnknown, Store
from gateway.store.models import Actor, Direction, ProviderState, ProviderStateChange
from tests.gateway.store.conftest import Database
from tests.gateway.store.samples import NOW, exchange
from tests.support.actors import ADA, BOB

OFF, ON = ProviderState.DISABLED, ProviderState.ENABLED
LATER = NOW + timedelta(hours=1)


async def switch(
    store: Store, provider: str, to: ProviderState, by: Actor = ADA, why: str = "seen"
) -> ProviderStateChange:
    """A switch that changes something."""
    standing, made = await store.change_provider_state(provider, to, by, why, NOW)
    assert made
    assert standing is not None
    return standing


async def test_a_switch_comes_back_as_it_was(database: Database) -> None:
    """Actor, time and reason are stored, also for the next process, until the next change."""
    store = database()
    await store.open()
    off, made = await store.change_provider_state("acme", OFF, ADA, "repairs \N{SNOWMAN}", NOW)
    assert made
    assert off is not None
    assert (off.provider, off.state, off.actor, off.reason, off.at) == ("acme", OFF, ADA, "repairs \N{SNOWMAN}", NOW)
    assert tuple(await store.current_provider_states()) == (off,)
    await store.close()
    again = database()
    await again.open()
    assert tuple(await again.current_provider_states()) == (off,)
    on, made = await again.change_provider_state("acme", ON, BOB, "repaired", LATER)
    assert made
    assert on is not None
    assert (on.state, on.actor, on.reason, on.at, on.number) == (ON, BOB, "repaired", LATER, off.number + 1)
    assert tuple(await again.current_provider_states()) == (on,)
    assert tuple((await again.provider_state_changes()).entries) == (on, off)
    await again.close()


async def test_the_same_state_again_changes_nothing(store: Store) -> None:
    """Disabling when disabled, or enabling when enabled, returns the newest change and stores nothing."""
    assert await store.change_provider_state("acme", ON, ADA, "why not", NOW) == (None, False)
    assert tuple(await store.current_provider_states()) == ()
    off = await switch(store, "acme", OFF)
    assert await store.change_provider_state("acme", OFF, BOB, "me too", LATER) == (off, False)
    on = await switch(store, "acme", ON)
    assert await store.change_provider_state("acme", ON, BOB, "me too", LATER) == (on, False)
    assert tuple((await store.provider_state_changes()).entries) == (on, off)
    assert len(await store.exchanges()) == 2


async def test_of_several_people_at_once_one_switches(store: Store) -> None:
    """The first is stored, and all others get its change."""
    answers = await asyncio.gather(
        *(store.change_provider_state("acme", OFF, Actor(f"operator-{number}"), "seen", NOW) for number in range(10))
    )
    assert sum(made for _, made in answers) == 1
    assert len({standing.id for standing, _ in answers if standing}) == 1
    assert len((await store.provider_state_changes()).entries) == len(await store.exchanges()) == 1


async def test_a_state_change_is_in_the_journal(store: Store) -> None:
    """The journal has a line between the exchanges around it, with action, actor and reason."""
    before, after = exchange(), exchange()
    await store.record_exchange(before)
    made = await switch(store, "acme", OFF, Actor("desk \N{SNOWMAN}", "ada"), "repairs")
    await store.record_exchange(after)
    await switch(store, "bolt", OFF)
    first, line, last = await store.exchanges(provider="acme")
    assert (first, last) == (before, after)
    assert line == await store.exchange(made.id) == made.line()
    assert (line.direction, line.operation, line.verdict) == (Direction.OPERATOR, "switch_off", "SWITCHED_OFF")
    assert (line.peer, line.detail, line.started_at) == ("desk \N{SNOWMAN}", "repairs", NOW)
    assert line.actor == Actor("desk \N{SNOWMAN}", "ada")
    assert (await store.refused_callbacks()).entries == ()


async def test_providers_have_separate_states(store: Store) -> None:
    """A change of one leaves the others, and the newest of each is current."""
    await switch(store, "acme", OFF)
    bolt = await switch(store, "bolt", OFF)
    acme = await switch(store, "acme", ON)
    cord = await switch(store, "cord", OFF)
    standing = await store.current_provider_states()
    assert sorted(standing, key=lambda each: each.provider) == [acme, bolt, cord]


async def test_switches_come_newest_first_in_pages(store: Store) -> None:
    """Pages joined by their tokens are all switches that are wanted, in order."""
    kept = [await switch(store, provider, to) for to in (OFF, ON, OFF) for provider in ("acme", "bolt", "cord")]

    async def joined(provider: str) -> list[ProviderStateChange]:
        seen: list[ProviderStateChange] = []
        token = ""
        while True:
            page = await store.provider_state_changes(provider=provider, page_token=token, limit=2)
            assert len(page.entries) <= 2
            seen.extend(page.entries)
            token = page.next_token
            if not token:
                return seen

    assert await joined("") == kept[::-1]
    assert await joined("bolt") == kept[1::3][::-1]
    assert await joined("nobody") == []
    with pytest.raises(PageTokenUnknown):
        await store.provider_state_changes(page_token="x")
