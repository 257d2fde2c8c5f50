"""The journal, and what a person must look at."""

from datetime import datetime, timedelta, timezone

import pytest

from adapters.contract import Certainty
from gateway.store.interface import Store
from gateway.store.records import Direction, EventFilter, EventType, Exchange, Message
from tests.gateway.store.conftest import Database
from tests.gateway.store.samples import NOW, event, exchange, item


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
    line, found, told = exchange(), item(), event()
    for _ in range(2):
        await store.record_exchange(line, found, told)
    assert await store.exchanges() == (line,)
    assert await store.open_items() == (found,)
    assert await store.events_after("", EventFilter(), 10) == (told,)


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
    assert await store.open_items() == (first,)
    assert len(await store.events_after("", EventFilter(), 10)) == 1
    assert len(await store.exchanges()) == 2


@pytest.mark.parametrize("part", ["provider", "reference", "fault", "field"])
async def test_any_part_of_the_key_makes_another_item(store: Store, part: str) -> None:
    """A refusal that differs in one part is one more thing to look at, oldest first."""
    first, second = item(), item(**{part: "other"})
    await store.record_exchange(exchange(), first)
    await store.record_exchange(exchange(), second)
    assert await store.open_items() == (first, second)


async def test_without_an_item_there_is_no_event(store: Store) -> None:
    """A callback that came to nothing and needs nobody is a journal line only."""
    await store.record_exchange(exchange(), None, event())
    assert await store.events_after("", EventFilter(), 10) == ()
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
    assert await store.open_items() == (found,)
    await store.close()
