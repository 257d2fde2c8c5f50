"""Closures that come at the same time are one batch, and each gets the result that it would get alone."""

import asyncio

from gateway.store.base import ContentDiffers, Store
from gateway.store.models import CloseRecord, EventType
from tests.gateway.store.samples import (
    NOW,
    event,
    open_items,
    outbound,
    published_events,
    settled,
    target,
    unknown_close,
)

IDS = tuple(f"7f0cbd16-2a29-4a0e-9a8f-{number:012}" for number in range(6))


async def begin(store: Store, request_id: str, **fields: str) -> CloseRecord | BaseException:
    """What is answered, or raised."""
    (outcome,) = await asyncio.gather(store.begin_close(request_id, target(**fields), NOW), return_exceptions=True)
    return outcome


async def test_intents_that_come_together(store: Store) -> None:
    """New, known, settled, of other content, and twice in the batch: each gets its own result, whatever the others."""
    new, known, over, other, twice, _ = IDS
    for request_id in (known, over, other):
        await store.begin_close(request_id, target(), NOW)
    await store.settle_close(over, settled(), outbound(request_id=over), None)
    answers = await asyncio.gather(
        begin(store, twice),
        begin(store, other, reason="another"),
        begin(store, new, user_id="player-2", session_id="s", game_id="g"),
        begin(store, known),
        begin(store, over),
        begin(store, twice),
    )
    first, differs, begun, again, settled_before, second = answers
    assert begun == CloseRecord(new, target(user_id="player-2", session_id="s", game_id="g"), 1, None, None)
    assert isinstance(differs, ContentDiffers)
    assert differs.field == "reason"
    assert isinstance(again, CloseRecord)
    assert again.attempts == 2
    assert isinstance(settled_before, CloseRecord)
    assert settled_before.settled == settled()
    assert isinstance(first, CloseRecord)
    assert isinstance(second, CloseRecord)
    assert sorted((first.attempts, second.attempts)) == [1, 2]
    kept = [await store.find_close(request_id) for request_id in (new, known, over, other, twice)]
    assert [record.attempts for record in kept if record is not None] == [1, 2, 1, 1, 2]
    assert kept[0] is not None
    assert kept[0].target == target(user_id="player-2", session_id="s", game_id="g")


async def test_successes_that_come_together(store: Store) -> None:
    """Each has its line, a request's first success its event; doubts are settled; what never began is a bug."""
    doubted, plain, over, twice, never, untouched = IDS
    for request_id in (doubted, plain, over, twice, untouched):
        await store.begin_close(request_id, target(), NOW)
    await store.settle_close(over, settled(), outbound(request_id=over), None)
    for request_id in (doubted, untouched):
        await store.record_exchange(outbound(request_id=request_id), unknown_close(request_id))

    async def settle(request_id: str) -> BaseException | None:
        closed = event(EventType.SESSION_CLOSED, request_id=request_id)
        settling = store.settle_close(request_id, settled(), outbound(request_id=request_id), closed)
        (outcome,) = await asyncio.gather(settling, return_exceptions=True)
        return outcome

    outcomes = await asyncio.gather(*map(settle, (never, doubted, plain, over, twice, twice)))
    assert isinstance(outcomes[0], LookupError)
    assert never in str(outcomes[0])
    assert outcomes[1:] == [None] * 5
    assert sorted(each.request_id for each in await published_events(store)) == sorted((doubted, plain, twice))
    lines = {request_id: len(await store.exchanges(request_id=request_id)) for request_id in IDS}
    assert lines == {doubted: 2, plain: 1, over: 2, twice: 2, never: 0, untouched: 1}
    assert [item.reference for item in await open_items(store)] == [untouched]
    for request_id in (doubted, plain, over, twice):
        record = await store.find_close(request_id)
        assert record is not None
        assert record.settled == settled()
