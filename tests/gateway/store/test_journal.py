"""The journal, and Items for an operator."""

from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
from msgspec import structs

from adapters.contract import Certainty
from gateway.store.base import PageTokenUnknown, Store
from gateway.store.models import Direction, EventType, Exchange, Message, Redelivery
from gateway.store.paging import encode
from gateway.store.reconciliation import ItemFilter
from tests.gateway.store.conftest import Database
from tests.gateway.store.samples import NOW, event, exchange, item, open_items, published_events
from tests.support.actors import ADA


async def test_an_exchange_comes_back_as_it_was(store: Store) -> None:
    """Every part of a line is kept: bytes as bytes, any text, absent certainty as absent."""
    whole = Exchange(
        id="exchange-x",
        direction=Direction.OUTBOUND,
        provider="acme",
        operation="close_session",
        method="POST",
        path="/V4/CloseSession",
        request=Message("Host: a\nX: \N{SNOWMAN}", b"\x00\xff\xfe"),
        started_at=NOW,
        ended_at=NOW + timedelta(microseconds=1),
        verdict="PROVIDER_FAILED",
        request_id="request-1",
        attempt=3,
        status=503,
        reply=Message("Server: b", b""),
        certainty=Certainty.UNKNOWN,
        detail="it broke",
        peer="192.0.2.1",
        attempt_uuid="0" * 32,
    )
    plain = exchange()
    await store.record_exchange(whole)
    await store.record_exchange(plain)
    assert await store.exchanges() == (whole, plain)


async def test_a_line_said_again_is_one_line(store: Store) -> None:
    """A caller that is unsure whether a write happened may repeat it."""
    line, found, refused = exchange(), item(), event()
    for _ in range(2):
        await store.record_exchange(line, found, refused)
    assert await store.exchanges() == (line,)
    assert await open_items(store) == (found,)
    assert await published_events(store) == (refused,)


async def test_lines_are_found_by_request_and_by_provider(store: Store) -> None:
    """Either narrows, both together must fit, the oldest come first, and no more than asked."""
    lines = [
        exchange(provider=provider, request_id=request_id)
        for provider, request_id in [("acme", "r1"), ("bolt", "r1"), ("acme", "r2"), ("acme", "r1"), ("acme", "")]
    ]
    for line in lines:
        await store.record_exchange(line)
    assert list(await store.exchanges(request_id="r1")) == [lines[0], lines[1], lines[3]]
    assert list(await store.exchanges(provider="acme")) == [lines[0], lines[2], lines[3], lines[4]]
    assert list(await store.exchanges(request_id="r1", provider="acme")) == [lines[0], lines[3]]
    assert list(await store.exchanges(limit=2)) == lines[:2]


async def test_a_known_item_is_not_kept_twice(store: Store) -> None:
    """One item and one event for each (provider, reference, fault, field), however often it comes."""
    first = item()
    await store.record_exchange(exchange(), first, event(EventType.RESULT_REFUSED))
    await store.record_exchange(exchange(), item(detail="again"), event(EventType.RESULT_REFUSED))
    assert await open_items(store) == (first,)
    assert len(await published_events(store)) == 1
    assert len(await store.exchanges()) == 2


@pytest.mark.parametrize("part", ["provider", "reference", "fault", "field"])
async def test_any_part_of_the_key_makes_another_item(store: Store, part: str) -> None:
    """A refusal that differs in one part is one more thing to look at, oldest first."""
    first, second = item(), item(**{part: "other"})
    await store.record_exchange(exchange(), first)
    await store.record_exchange(exchange(), second)
    assert await open_items(store) == (first, second)


async def test_without_an_item_there_is_no_event(store: Store) -> None:
    """A callback that came to nothing and needs nobody is a journal line only."""
    await store.record_exchange(exchange(), None, event())
    assert await published_events(store) == ()
    assert len(await store.exchanges()) == 1


async def test_times_are_kept_in_utc(store: Store) -> None:
    """A time of another zone is the same moment in UTC; one without a zone is a bug and is not kept."""
    elsewhere = datetime(2026, 11, 21, 14, 30, tzinfo=timezone(timedelta(hours=2)))
    await store.record_exchange(exchange(started_at=elsewhere))
    (line,) = await store.exchanges()
    assert line.started_at == elsewhere
    assert line.started_at.utcoffset() == timedelta(0)
    with pytest.raises(ValueError, match="no time zone"):
        await store.record_exchange(exchange(started_at=elsewhere.replace(tzinfo=None)))
    assert len(await store.exchanges()) == 1


async def test_everything_is_kept_over_a_restart(database: Database) -> None:
    """What was acknowledged is found again by the next process."""
    line, found = exchange(), item()
    store = database()
    await store.open()
    await store.record_exchange(line, found)
    await store.close()
    store = database()
    await store.open()
    assert await store.exchanges() == (line,)
    assert await open_items(store) == (found,)
    await store.close()


async def test_a_line_is_found_by_its_id(store: Store) -> None:
    """A line with all of its parts, a redelivery's among them; None where there is no such line."""
    first = exchange()
    again = exchange(redelivery=Redelivery(first.id, "the account is open"), actor=ADA)
    await store.record_exchange(first)
    await store.record_exchange(again)
    assert await store.exchange(first.id) == first
    assert await store.exchange(again.id) == again
    assert await store.exchange("no-such-line") is None


# --- Refused callbacks ------------------------------------------------------------------------------------------------


async def test_refused_callbacks_come_newest_first_in_pages(store: Store) -> None:
    """Pages joined by their tokens are all refused callbacks, and nothing that was accepted, credited or outbound."""
    refused = [exchange(verdict=verdict) for verdict in ("UNREADABLE", "ACCOUNT_UNKNOWN", "CREDENTIALS", "BUSY", "57")]
    others = [
        exchange(verdict="ACCEPTED"),
        exchange(verdict="CREDITED"),
        exchange(verdict="PROVIDER_FAILED", direction=Direction.OUTBOUND),
    ]
    for line in [others[0], *refused[:3], *others[1:], *refused[3:]]:
        await store.record_exchange(line)
    seen: list[Exchange] = []
    token = ""
    while True:
        page = await store.refused_callbacks(page_token=token, limit=2)
        seen.extend(page.entries)
        assert len(page.entries) == min(2, len(refused) - len(seen) + len(page.entries))
        token = page.next_token
        if not token:
            break
        await store.record_exchange(exchange(verdict="LATER"))  # what comes meanwhile is on no later page
    assert seen == refused[::-1]
    assert (await store.refused_callbacks(limit=10)).next_token == ""


async def test_refused_callbacks_of_one_provider(store: Store) -> None:
    """A provider narrows the list, over all its pages."""
    lines = [exchange(verdict="BUSY", provider=provider) for provider in ("acme", "bolt", "acme", "bolt", "acme")]
    for line in lines:
        await store.record_exchange(line)
    first = await store.refused_callbacks(provider="acme", limit=2)
    second = await store.refused_callbacks(provider="acme", limit=2, page_token=first.next_token)
    assert [*first.entries, *second.entries] == [lines[4], lines[2], lines[0]]
    assert second.next_token == ""


@pytest.mark.parametrize("token", ["x", "!", encode("a"), encode("-1"), encode("1", "2"), encode("9" * 30)])
async def test_a_page_token_of_another_list_is_refused(store: Store, token: str) -> None:
    """No text but a token of such a list opens a page of it."""
    with pytest.raises(PageTokenUnknown):
        await store.refused_callbacks(page_token=token)
    with pytest.raises(PageTokenUnknown):
        await store.items(ItemFilter(), page_token=token)
    with pytest.raises(PageTokenUnknown):
        await store.credits_of("player-1", page_token=token)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-11-21", "never"])
async def test_a_made_up_moment_is_a_page_or_refused(store: Store, moment: str) -> None:
    """A page token that another session has put together raises nothing but PageTokenUnknown."""
    with suppress(PageTokenUnknown):
        await store.credits_of("player-1", page_token=encode(moment, "acme", "ref-1"))


# --- Retention --------------------------------------------------------------------------------------------------------


async def test_old_bodies_are_taken_away_and_facts_stay(store: Store) -> None:
    """Of lines older than the moment heads and bodies go, oldest first and no more than asked; all else stays."""
    full = Message("Content-Type: text/plain", b"secret wins")
    lines = [
        exchange(request=full, reply=full, started_at=NOW, ended_at=NOW + timedelta(days=day), detail="a fact")
        for day in (2, 0, 1, 3)
    ]
    for line in lines:
        await store.record_exchange(line)
    before = NOW + timedelta(days=3)
    assert await store.trim_bodies(before, 2) == 2
    trimmed = [structs.replace(line, request=Message(), reply=Message(), trimmed=True) for line in lines]
    assert await store.exchanges() == (lines[0], trimmed[1], trimmed[2], lines[3])
    assert await store.trim_bodies(before, 2) == 1
    assert await store.trim_bodies(before, 2) == 0
    assert await store.exchanges() == (*trimmed[:3], lines[3])


async def test_what_an_open_item_points_at_keeps_its_body(store: Store) -> None:
    """An operator needs the callback until he has settled its item; then it goes with the others."""
    line = exchange(request=Message("head", b"body"))
    await store.record_exchange(line, found := item(exchange_id=line.id))
    before = NOW + timedelta(days=1)
    assert await store.trim_bodies(before, 10) == 0
    assert await store.exchange(line.id) == line
    await store.resolve_item(found.id, ADA, "paid by hand", NOW)
    assert await store.trim_bodies(before, 10) == 1
