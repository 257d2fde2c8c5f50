"""Who acted, as each engine stores it."""

from decimal import Decimal
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store.base import Store
from gateway.store.models import THE_GATEWAY, Actor, Direction, ProviderState, Redelivery
from gateway.store.reconciliation import ItemFilter
from tests.gateway.store.conftest import Database
from tests.gateway.store.samples import NOW, exchange, item, outbound, target
from tests.support.actors import ADA, BOB

_numbers = count(1)

_NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=255)
ACTORS = st.builds(Actor, _NAMES, st.just("") | _NAMES)


def test_an_actor_is_shown_with_the_person_beside_it() -> None:
    """The caller comes first; the gateway itself is named as such."""
    assert str(ADA) == "backoffice on behalf of ada"
    assert str(Actor("backoffice")) == "backoffice"
    assert str(THE_GATEWAY) == "the gateway"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actor=ACTORS, another=ACTORS)
async def test_an_actor_comes_back_as_it_was(store: Store, actor: Actor, another: Actor) -> None:
    """Of an intent, a journal line, a redelivery, a switch with its line, and the resolution of an item."""
    name = f"number-{next(_numbers)}"
    assert (await store.begin_close(name, target(), NOW, actor)).actor == actor
    again = await store.begin_close(name, target(), NOW, another)
    assert (again.actor, again.attempts) == (actor, 2)
    found = await store.find_close(name)
    assert found is not None
    assert found.actor == actor

    line = outbound(actor=actor)
    redelivered = exchange(actor=another, redelivery=Redelivery(line.id, "repaired"))
    for each in (line, redelivered):
        await store.record_exchange(each)
        assert await store.exchange(each.id) == each

    change, changed = await store.change_provider_state(name, ProviderState.DISABLED, actor, "repairs", NOW)
    assert changed
    assert change is not None
    assert change.actor == actor
    assert change in await store.current_provider_states()
    (switched,) = await store.exchanges(provider=name)
    assert (switched, switched.actor) == (change.line(), actor)

    opened = item(provider=name)
    await store.record_exchange(exchange(), opened)
    resolved = await store.resolve_item(opened.id, actor, "paid by hand", NOW)
    assert resolved.resolution is not None
    assert resolved.resolution.actor == actor
    assert await store.find_item(opened.id) == resolved


async def test_what_the_release_before_wrote_is_shown_as_before(database: Database) -> None:
    """Its rows have no value in the new columns: who acted is in the old ones, and a close names nobody."""
    store = database()
    await store.open()
    await store.begin_close("request-1", target(), NOW, ADA)
    line = exchange(actor=ADA, redelivery=Redelivery("line-0", "repaired"), verdict="ACCOUNT_UNKNOWN")
    opened = item()
    await store.record_exchange(line, opened)
    await store.resolve_item(opened.id, ADA, "paid by hand", NOW)
    await store.change_provider_state("acme", ProviderState.DISABLED, ADA, "repairs", NOW)
    await database.tamper("UPDATE closures SET actor = '', on_behalf_of = ''")
    await database.tamper("UPDATE exchanges SET actor = '', on_behalf_of = '', redelivered_by = 'carl'")
    await database.tamper("UPDATE provider_switches SET switched_by = 'carl', on_behalf_of = ''")
    await database.tamper("UPDATE reconciliation_items SET resolved_by = 'carl', resolved_on_behalf_of = ''")
    close = await store.find_close("request-1")
    assert close is not None
    assert close.actor == THE_GATEWAY
    (shown,) = (await store.refused_callbacks()).entries
    (change,) = await store.current_provider_states()
    (resolved,) = (await store.items(ItemFilter(resolved=True))).entries
    assert resolved.resolution is not None
    assert [shown.actor, change.actor, resolved.resolution.actor] == [Actor("carl")] * 3
    await store.close()


async def test_a_line_of_an_opening_is_stored_with_the_account(store: Store) -> None:
    """Once, where the account is opened: not by a repeated call."""
    lines = [exchange(direction=Direction.CALLER, provider="", actor=actor) for actor in (ADA, BOB)]
    for line in lines:
        await store.open_account("player-1", "EUR", Decimal(5), NOW, line)
    assert await store.exchanges() == (lines[0],)
