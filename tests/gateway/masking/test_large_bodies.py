"""Large bodies are worked on beside the event loop, and no provider has to wait behind another's."""

import asyncio
import threading

import pytest

from gateway.masking.large_bodies import LargeBodies
from tests.support.waiting import until

SMALL = 1000
LARGE = SMALL + 1


class Work:
    """Work that takes until it is released, and counts how many run."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.released = threading.Event()
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.released.wait(30)
        with self._lock:
            self.running -= 1
        return threading.current_thread().name


async def test_a_small_body_is_worked_on_at_once() -> None:
    """It takes less time than a thread's start."""
    assert await LargeBodies(SMALL).run("one", SMALL, lambda: threading.current_thread().name) == "MainThread"
    assert await LargeBodies(SMALL).run("one", LARGE, lambda: threading.current_thread().name) != "MainThread"


async def test_one_of_a_provider_and_few_of_all_run_at_once() -> None:
    """A second provider is served beside the queue of the first."""
    bodies, first, second = LargeBodies(SMALL), Work(), Work()
    queue = [asyncio.create_task(bodies.run("one", LARGE, first)) for _ in range(5)]
    await until(lambda: first.running == 1)
    other = asyncio.create_task(bodies.run("two", LARGE, second))
    await until(lambda: second.running == 1)
    second.released.set()
    assert await other != "MainThread"
    first.released.set()
    await asyncio.gather(*queue)
    assert first.most == 1


async def test_cancelled_work_keeps_its_place_until_it_ends() -> None:
    """Otherwise callbacks that are too late would pile up threads."""
    bodies, work = LargeBodies(SMALL), Work()
    cancelled = asyncio.create_task(bodies.run("one", LARGE, work))
    await until(lambda: work.running == 1)
    cancelled.cancel()
    await asyncio.wait({cancelled})
    waiting = asyncio.create_task(bodies.run("one", LARGE, work))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.05)
    work.released.set()
    await waiting
    assert work.most == 1


async def test_few_of_all_providers_run_at_once() -> None:
    """A third provider waits for one of two, and does not run if it is cancelled meanwhile."""
    bodies, work = LargeBodies(SMALL), Work()
    two = [asyncio.create_task(bodies.run(name, LARGE, work)) for name in ("one", "two")]
    await until(lambda: work.running == 2)
    never = Work()
    third = asyncio.create_task(bodies.run("three", LARGE, never))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(third, 0.05)
    fourth = asyncio.create_task(bodies.run("three", LARGE, work))
    work.released.set()
    await asyncio.gather(*two, fourth)
    assert (work.most, never.most) == (2, 0)


async def test_one_kind_does_not_wait_for_another() -> None:
    """Callbacks and answers have their own threads."""
    work, answered = Work(), Work()
    answered.released.set()
    callbacks, answers = LargeBodies(SMALL), LargeBodies(SMALL)
    busy = [asyncio.create_task(callbacks.run(name, LARGE, work)) for name in ("one", "two")]
    await until(lambda: work.running == 2)
    assert await answers.run("one", LARGE, answered) != "MainThread"
    work.released.set()
    await asyncio.gather(*busy)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_any_error_of_the_work_is_raised(size: int) -> None:
    """StopIteration too, which a future cannot hold; the place is free afterwards."""
    bodies = LargeBodies(SMALL)

    def fail() -> None:
        raise errors.pop()

    errors = [StopIteration(), KeyError()]
    async with asyncio.timeout(30):
        with pytest.raises(KeyError):
            await bodies.run("one", size, fail)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await bodies.run("one", size, fail)
        assert await bodies.run("one", size, lambda: "free") == "free"
