"""A deadline cuts what it bounds, and can only move later."""

import asyncio

import pytest

from gateway.outbound.deadline import Deadline

LONG = 30.0


async def test_cuts_a_wait_when_it_passes() -> None:
    """A wait without an end is cut with TimeoutError once the deadline has passed."""
    deadline = Deadline.after(0.05)
    with pytest.raises(TimeoutError):
        async with deadline.bound():
            await asyncio.Event().wait()
    assert deadline.remaining() == 0


async def test_leaves_alone_what_ends_in_time() -> None:
    """A body that ends before the deadline is not disturbed, and the deadline forgets it."""
    deadline = Deadline.after(LONG)
    async with deadline.bound():
        await asyncio.sleep(0)
    assert 0 < deadline.remaining() <= LONG
    deadline.extend(asyncio.get_running_loop().time() + 2 * LONG)
    assert deadline.remaining() > LONG


async def test_extending_moves_a_wait_under_way() -> None:
    """A caller with a later deadline keeps the shared call alive past the first one."""
    loop = asyncio.get_running_loop()
    first = loop.time() + 0.1
    deadline = Deadline(first)
    passed_first = asyncio.Event()
    loop.call_at(first + 0.1, passed_first.set)

    async def shared_call() -> str:
        async with deadline.bound():
            await passed_first.wait()
            return "answer"

    call = loop.create_task(shared_call())
    await asyncio.sleep(0)
    deadline.extend(loop.time() + LONG)
    assert await call == "answer"


async def test_never_moves_earlier() -> None:
    """A caller with an earlier deadline does not cut the others' call."""
    deadline = Deadline.after(LONG)
    deadline.extend(asyncio.get_running_loop().time())
    assert deadline.remaining() > LONG / 2


async def test_extending_what_has_expired_changes_nothing_for_it() -> None:
    """A wait whose time is up stays cut, and extending it meanwhile raises nothing."""
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


async def test_cancellation_by_the_caller_passes_through() -> None:
    """A cancelled caller sees CancelledError, not a TimeoutError."""
    deadline = Deadline.after(LONG)

    async def bounded() -> None:
        async with deadline.bound():
            await asyncio.Event().wait()

    task = asyncio.get_running_loop().create_task(bounded())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_part_ends_with_its_own_bound_or_with_the_whole() -> None:
    """Whichever comes first, also where the whole is moved while the part is waited for; afterwards they are apart."""
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
    assert not whole._waits
