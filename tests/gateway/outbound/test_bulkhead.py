"""A bulkhead limits requests and its queue. No request waits in vain, and no place is lost."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.outbound.bulkhead import Bulkhead, BulkheadFull
from gateway.outbound.deadline import Deadline
from tests.gateway.outbound.harness import LONG


async def _queue(bulkhead: Bulkhead, seconds: float = LONG) -> asyncio.Task[None]:
    """A request that waits for a place."""
    waiting = asyncio.create_task(bulkhead.acquire(Deadline.after(seconds)))
    await asyncio.sleep(0)
    return waiting


async def test_places_are_given_in_order_of_arrival() -> None:
    """A later request does not overtake one that waits."""
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
    assert (bulkhead.in_flight, bulkhead.queued) == (1, 0)


async def test_a_full_queue_rejects_at_once() -> None:
    """The requests in the queue are not affected."""
    bulkhead = Bulkhead(1, 1)
    await bulkhead.acquire(Deadline.after(LONG))
    waiting = await _queue(bulkhead)
    with pytest.raises(BulkheadFull, match="which is its limit"):
        await bulkhead.acquire(Deadline.after(LONG))
    bulkhead.release()
    await waiting


async def test_a_request_that_cannot_be_served_in_time_is_rejected_at_once() -> None:
    """The expected wait follows from how long places were held recently."""
    bulkhead = Bulkhead(1, 10)
    await bulkhead.acquire(Deadline.after(LONG))
    bulkhead.release(100.0)  # the mean is a tenth of it now
    await bulkhead.acquire(Deadline.after(LONG))
    with pytest.raises(BulkheadFull, match=r"expected in 10\.0 s"):
        await bulkhead.acquire(Deadline.after(9.0))
    waiting = await _queue(bulkhead, 11.0)
    bulkhead.release()
    await waiting


async def test_a_request_leaves_the_queue_at_its_deadline() -> None:
    """The next place is free for others."""
    bulkhead = Bulkhead(1, 1)
    await bulkhead.acquire(Deadline.after(LONG))
    with pytest.raises(BulkheadFull, match="became free in time"):
        await bulkhead.acquire(Deadline.after(0.01))
    assert bulkhead.queued == 0
    bulkhead.release()
    assert bulkhead.try_acquire()


async def test_a_request_that_is_cancelled_with_its_turn_passes_the_place_on() -> None:
    """The next request in the queue gets it."""
    bulkhead = Bulkhead(1, 2)
    await bulkhead.acquire(Deadline.after(LONG))
    cancelled, next_ = await _queue(bulkhead), await _queue(bulkhead)
    bulkhead.release()  # its turn has come, and its task has not run since
    cancelled.cancel()
    await next_
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert bulkhead.in_flight == 1


async def test_resizing_does_not_affect_held_places() -> None:
    """More places are used at once, fewer as places are released."""
    bulkhead = Bulkhead(1, 10)
    await bulkhead.acquire(Deadline.after(LONG))
    waiting = [await _queue(bulkhead) for _ in range(3)]
    bulkhead.resize(3, 10)
    await asyncio.gather(*waiting[:2])
    assert (bulkhead.in_flight, bulkhead.queued) == (3, 1)
    bulkhead.resize(1, 10)
    bulkhead.release()
    bulkhead.release()
    await asyncio.sleep(0)
    assert (bulkhead.in_flight, bulkhead.queued) == (1, 1)
    bulkhead.release()
    await waiting[2]


Steps = st.lists(
    st.one_of(
        st.just(("acquire", 0)),
        st.just(("release", 0)),
        st.tuples(st.sampled_from(["cancel", "resize"]), st.integers(0, 4)),
    ),
    max_size=60,
)


@given(steps=Steps)
@settings(max_examples=150, deadline=None)
def test_no_place_is_lost_or_given_twice(steps: list[tuple[str, int]]) -> None:
    """The counts are right after any sequence of acquiring, releasing, cancelling and resizing."""
    asyncio.run(_run(steps))


async def _run(steps: list[tuple[str, int]]) -> None:
    bulkhead, queue = Bulkhead(2, 3), 3
    requests: list[asyncio.Task[None]] = []
    released: set[asyncio.Task[None]] = set()
    for step, number in steps:
        held = [task for task in requests if _holds_place(task) and task not in released]
        if step == "acquire":
            requests.append(await _queue(bulkhead))
        elif step == "release" and held:
            bulkhead.release()
            released.add(held[0])
        elif step == "cancel" and requests:
            requests[number % len(requests)].cancel()
        elif step == "resize" and number:
            bulkhead.resize(number, queue)
        assert 0 <= bulkhead.queued <= queue
    for task in requests:
        task.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    held = [task for task in requests if _holds_place(task) and task not in released]
    assert (bulkhead.in_flight, bulkhead.queued) == (len(held), 0)


def _holds_place(task: asyncio.Task[None]) -> bool:
    """Whether the request has acquired a place."""
    return task.done() and not task.cancelled() and task.exception() is None
