"""A deadline ends the waits that depend on it, wherever it has moved to."""

import asyncio

import pytest

from gateway.outbound.deadline import Deadline
from tests.gateway.outbound.harness import LONG


async def test_bound_raises_timeout_error_at_the_deadline() -> None:
    """A wait without an end is cancelled with TimeoutError once the deadline has passed."""
    deadline = Deadline.after(0.05)
    with pytest.raises(TimeoutError):
        async with deadline.bound():
            await asyncio.Event().wait()
    assert deadline.remaining() == 0


async def test_a_body_that_ends_in_time_is_not_affected() -> None:
    """The deadline does not keep it as a watcher."""
    deadline = Deadline.after(LONG)
    async with deadline.bound():
        await asyncio.sleep(0)
    assert 0 < deadline.remaining() <= LONG
    assert not deadline.watchers
    deadline.extend(asyncio.get_running_loop().time() + 2 * LONG)
    assert deadline.remaining() > LONG


async def test_extending_moves_a_wait_in_progress() -> None:
    """A shared call lives until the latest deadline of its callers."""
    loop = asyncio.get_running_loop()
    first = loop.time() + 0.1
    deadline = Deadline(first)
    after_first = asyncio.Event()
    loop.call_at(first + 0.1, after_first.set)

    async def shared_call() -> str:
        async with deadline.bound():
            await after_first.wait()
            return "answer"

    call = loop.create_task(shared_call())
    await asyncio.sleep(0)
    deadline.extend(loop.time() + LONG)
    assert await call == "answer"


async def test_extend_never_moves_it_earlier() -> None:
    """A caller with an earlier deadline does not end the others' call."""
    deadline = Deadline.after(LONG)
    deadline.extend(asyncio.get_running_loop().time())
    assert deadline.remaining() > LONG / 2


async def test_an_expired_wait_stays_expired() -> None:
    """Extending the deadline while the wait ends raises nothing."""
    loop = asyncio.get_running_loop()
    deadline = Deadline(loop.time())

    async def too_late() -> None:
        async with deadline.bound():
            try:
                await asyncio.Event().wait()
            finally:
                deadline.extend(loop.time() + LONG)

    with pytest.raises(TimeoutError):
        await too_late()
    assert deadline.remaining() > LONG / 2


async def test_cancellation_passes_through() -> None:
    """A cancelled caller receives CancelledError and not TimeoutError."""
    deadline = Deadline.after(LONG)

    async def bounded() -> None:
        async with deadline.bound():
            await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(bounded())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_part_ends_at_the_earlier_of_both_limits() -> None:
    """It follows the whole deadline while its body runs, and not afterwards."""
    loop = asyncio.get_running_loop()
    whole = Deadline.after(LONG)
    with whole.part(LONG / 2) as part:
        assert LONG / 3 < part.remaining() <= LONG / 2
        whole.extend(loop.time() + 2 * LONG)
        assert part.remaining() <= LONG / 2
        whole.cap(loop.time() + 1)
        assert part.remaining() <= 1
    with whole.part(None) as part:
        assert part is whole
    assert not whole.watchers


async def test_call_when_passed_follows_the_deadline() -> None:
    """The callback is called at the deadline, earlier where it is capped, later where it is extended, and not after the
    body.
    """
    loop = asyncio.get_running_loop()
    passed: list[str] = []
    capped, extended, finished = Deadline.after(LONG), Deadline.after(0.02), Deadline.after(0.02)
    called = asyncio.Event()
    with finished.call_when_passed(lambda: passed.append("finished")):
        pass
    with capped.call_when_passed(called.set), extended.call_when_passed(lambda: passed.append("extended")):
        extended.extend(loop.time() + LONG)
        capped.cap(loop.time() + 0.05)
        await asyncio.wait_for(called.wait(), LONG)
    assert passed == []
    assert not capped.watchers
