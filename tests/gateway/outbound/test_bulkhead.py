"""A provider's places are bounded, and so is the queue for them; nobody waits in vain, and no place is lost."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.outbound.bulkhead import Bulkhead, BulkheadFull
from gateway.outbound.deadline import Deadline

LONG = 30.0


async def _queue(bulkhead: Bulkhead, seconds: float = LONG) -> asyncio.Task[None]:
    """Somebody who waits for a place."""
    waiting = asyncio.create_task(bulkhead.acquire(Deadline.after(seconds)))
    await asyncio.sleep(0)
    return waiting


async def test_places_are_given_in_turn() -> None:
    """Who came first goes first, and nobody overtakes who waits."""
    bulkhead = Bulkhead(1, 10)
    assert bulkhead.try_acquire()
    first, second = await _queue(bulkhead), await _queue(bulkhead)
    assert not bulkhead.try_acquire()
    bulkhead.release()
    await first
    assert not second.done()
    assert not bulkhead.try_acquire()
    bulkhead.release()
    await second
    assert (bulkhead.taken, bulkhead.waiting) == (1, 0)


async def test_a_full_queue_refuses_at_once() -> None:
    """One more than may wait is told so, and takes nothing from those who do."""
    bulkhead = Bulkhead(1, 1)
    await bulkhead.acquire(Deadline.after(LONG))
    waiting = await _queue(bulkhead)
    with pytest.raises(BulkheadFull) as refused:
        await bulkhead.acquire(Deadline.after(LONG))
    assert refused.value.at_once
    bulkhead.release()
    await waiting


async def test_who_cannot_be_served_in_time_is_refused_at_once() -> None:
    """What places were held for of late tells how long the queue takes."""
    bulkhead = Bulkhead(1, 10)
    await bulkhead.acquire(Deadline.after(LONG))
    bulkhead.release(100.0)  # the mean is a tenth of it now
    await bulkhead.acquire(Deadline.after(LONG))
    with pytest.raises(BulkheadFull) as refused:
        await bulkhead.acquire(Deadline.after(9.0))
    assert refused.value.at_once
    waiting = await _queue(bulkhead, 11.0)
    bulkhead.release()
    await waiting


async def test_who_waits_until_his_deadline_leaves_the_queue() -> None:
    """His turn is not kept for him."""
    bulkhead = Bulkhead(1, 1)
    await bulkhead.acquire(Deadline.after(LONG))
    with pytest.raises(BulkheadFull) as late:
        await bulkhead.acquire(Deadline.after(0.01))
    assert not late.value.at_once
    assert bulkhead.waiting == 0
    bulkhead.release()
    assert bulkhead.try_acquire()


async def test_a_turn_that_comes_with_the_end_is_passed_on() -> None:
    """Who is cancelled when his turn has just come leaves the place to the next."""
    bulkhead = Bulkhead(1, 2)
    await bulkhead.acquire(Deadline.after(LONG))
    leaving, next_ = await _queue(bulkhead), await _queue(bulkhead)
    bulkhead.release()  # the turn has come, and he has not heard of it yet
    leaving.cancel()
    await next_
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert bulkhead.taken == 1


async def test_more_places_are_taken_at_once_and_fewer_as_they_come_back() -> None:
    """A bound that moves while calls are under way takes nothing from them."""
    bulkhead = Bulkhead(1, 10)
    await bulkhead.acquire(Deadline.after(LONG))
    waiting = [await _queue(bulkhead) for _ in range(3)]
    bulkhead.resize(3, 10)
    await asyncio.gather(*waiting[:2])
    assert (bulkhead.taken, bulkhead.waiting) == (3, 1)
    bulkhead.resize(1, 10)
    bulkhead.release()
    bulkhead.release()
    await asyncio.sleep(0)
    assert (bulkhead.taken, bulkhead.waiting) == (1, 1)
    bulkhead.release()
    await waiting[2]


Steps = st.lists(
    st.one_of(
        st.just(("take", 0)), st.just(("give", 0)), st.tuples(st.sampled_from(["cancel", "resize"]), st.integers(0, 4))
    ),
    max_size=60,
)


@given(steps=Steps)
@settings(max_examples=150, deadline=None)
def test_no_place_is_lost_and_none_is_given_twice(steps: list[tuple[str, int]]) -> None:
    """Whoever takes, gives back, gives up or moves the bound, in whatever order: the books of the places add up."""
    asyncio.run(_books(steps))


async def _books(steps: list[tuple[str, int]]) -> None:
    bulkhead, queue = Bulkhead(2, 3), 3
    asked: list[asyncio.Task[None]] = []
    given: set[asyncio.Task[None]] = set()
    for what, number in steps:
        held = [task for task in asked if _has_it(task) and task not in given]
        if what == "take":
            asked.append(await _queue(bulkhead))
        elif what == "give" and held:
            bulkhead.release()
            given.add(held[0])
        elif what == "cancel" and asked:
            asked[number % len(asked)].cancel()
        elif what == "resize" and number:
            bulkhead.resize(number, queue)
        assert 0 <= bulkhead.waiting <= queue
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    held = [task for task in asked if _has_it(task) and task not in given]
    assert (bulkhead.taken, bulkhead.waiting) == (len(held), 0)


def _has_it(task: asyncio.Task[None]) -> bool:
    """Whether somebody has a place, and knows it."""
    return task.done() and not task.cancelled() and task.exception() is None
