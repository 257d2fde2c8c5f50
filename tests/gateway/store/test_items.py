"""Reconciliation: Items for an operator are found, resolved once, and stay resolved."""

import asyncio
from datetime import timedelta

import pytest

from gateway.store.base import AlreadyResolved, Store
from gateway.store.models import Actor
from gateway.store.reconciliation import ItemFilter, ReconciliationItem, ReconciliationKind, Resolution
from tests.gateway.store.samples import NOW, event, exchange, item, open_items, published_events
from tests.support.actors import ADA, BOB

LATER = NOW + timedelta(hours=1)


async def keep(store: Store, *items: ReconciliationItem) -> None:
    for each in items:
        await store.record_exchange(exchange(), each)


@pytest.mark.parametrize("kind", ReconciliationKind)
async def test_an_item_comes_back_as_it_was(store: Store, kind: ReconciliationKind) -> None:
    """Every part of an item is kept, and it is found by its id."""
    whole = item(kind=kind, field="promo_amount", detail="6, and it was 5 \N{SNOWMAN}", exchange_id="exchange-7")
    await keep(store, whole)
    assert await store.find_item(whole.id) == whole
    assert await open_items(store) == (whole,)
    assert await store.find_item("no-such-item") is None


async def test_an_item_is_resolved_once(store: Store) -> None:
    """A resolution is stored with actor, reason and time; a second one fails, and changes nothing."""
    await keep(store, found := item(), other := item(reference="ref-2"))
    settled = await store.resolve_item(found.id, ADA, "paid by hand \N{SNOWMAN}", LATER)
    assert settled.resolution == Resolution(LATER, ADA, "paid by hand \N{SNOWMAN}")
    assert await store.find_item(found.id) == settled
    with pytest.raises(AlreadyResolved) as caught:
        await store.resolve_item(found.id, BOB, "no need", LATER + timedelta(hours=1))
    assert caught.value.item == settled
    assert await store.find_item(found.id) == settled
    assert await open_items(store) == (other,)
    assert (await store.items(ItemFilter(resolved=True))).entries == (settled,)


async def test_of_several_people_at_once_one_settles(store: Store) -> None:
    """The first resolves the item, and all others get its resolution."""
    await keep(store, found := item())
    results = await asyncio.gather(
        *(store.resolve_item(found.id, Actor(f"operator-{number}"), "seen", LATER) for number in range(10)),
        return_exceptions=True,
    )
    settled = [result for result in results if isinstance(result, ReconciliationItem)]
    late = [result.item for result in results if isinstance(result, AlreadyResolved)]
    assert len(settled) == 1
    assert late == settled * 9


async def test_an_unknown_item_cannot_be_settled(store: Store) -> None:
    """A wrong id is said to be wrong."""
    with pytest.raises(LookupError, match="no-such-item"):
        await store.resolve_item("no-such-item", ADA, "seen", NOW)


async def test_what_an_operator_resolved_stays_resolved(store: Store) -> None:
    """The same refusal again is neither a new item nor a new event."""
    await store.record_exchange(exchange(), found := item(), event())
    settled = await store.resolve_item(found.id, ADA, "paid by hand", LATER)
    await store.record_exchange(exchange(), item(), event())
    assert await open_items(store) == ()
    assert await store.find_item(found.id) == settled
    assert len(await published_events(store)) == 1


async def test_items_come_oldest_first_in_pages(store: Store) -> None:
    """Pages joined by their tokens are all items that are wanted, in order."""
    kept = [
        item(reference=f"ref-{number}", provider="acme" if number % 3 else "bolt", user_id=f"player-{number % 2}")
        for number in range(10)
    ]
    await keep(store, *kept)

    async def joined(wanted: ItemFilter) -> list[ReconciliationItem]:
        seen: list[ReconciliationItem] = []
        token = ""
        while True:
            page = await store.items(wanted, page_token=token, limit=2)
            assert len(page.entries) <= 2
            seen.extend(page.entries)
            token = page.next_token
            if not token:
                return seen

    assert await joined(ItemFilter()) == kept
    assert await joined(ItemFilter(provider="acme")) == [each for each in kept if each.provider == "acme"]
    assert await joined(ItemFilter(user_id="player-1")) == [each for each in kept if each.user_id == "player-1"]
    both = ItemFilter(provider="bolt", user_id="player-0")
    assert await joined(both) == [kept[0], kept[6]]
    assert await joined(ItemFilter(provider="nobody")) == []
    assert await joined(ItemFilter(resolved=True)) == []
    settled = [await store.resolve_item(each.id, ADA, "seen", LATER) for each in kept[:5]]
    assert await joined(ItemFilter(resolved=True)) == settled
    assert await joined(ItemFilter()) == kept[5:]
