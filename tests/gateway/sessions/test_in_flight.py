"""Waiting for a flight: by a timer, whatever becomes of who waits."""

import asyncio

import pytest

from gateway.outbound.deadline import Deadline
from gateway.sessions.errors import GatewayError, Reason
from gateway.sessions.in_flight import InFlightClose, wait_until
from gateway.store.models import Target


def in_(seconds: float) -> float:
    """That many seconds from now, by the loop's clock."""
    return asyncio.get_running_loop().time() + seconds


async def test_what_is_called_when_a_future_is_done_is_called_before_the_wait_is_over() -> None:
    """Who waits again and again for what is done lets those go on who must still tidy up behind it."""
    tidy = False

    def tidied(_: object) -> None:
        nonlocal tidy
        tidy = True

    future = asyncio.get_running_loop().create_future()
    future.add_done_callback(tidied)
    future.set_result(None)
    assert await wait_until(future, in_(10))
    assert tidy


async def test_a_wait_ends_with_the_future_or_with_its_time() -> None:
    """It tells which, and touches the future in neither case."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    assert not await wait_until(future, in_(0.01))
    assert not await wait_until(future, in_(-1))
    loop.call_soon(future.set_result, 7)
    assert await wait_until(future, in_(10))
    assert future.result() == 7


async def test_a_cancelled_wait_leaves_the_future_alone() -> None:
    """One caller's cancellation is not another's."""
    future = asyncio.get_running_loop().create_future()
    waiting = [asyncio.create_task(wait_until(future, in_(10))) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    future.set_result(None)
    assert await waiting[1]
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]


async def test_a_flight_lands_when_its_deadline_passes_wherever_that_has_moved() -> None:
    """Later where a caller has more time, earlier where the gateway stops; not at all once the body is through."""
    too_late = GatewayError(Reason.STORE_UNAVAILABLE, "too late")

    def flight(seconds: float) -> InFlightClose[str]:
        return InFlightClose[str]("request-1", Target("acme", "player-1"), Deadline(in_(seconds)))

    extended, capped, through = flight(0.02), flight(10), flight(0.02)
    with through.fail_at_deadline(too_late):
        pass
    with extended.fail_at_deadline(too_late), capped.fail_at_deadline(too_late):
        extended.deadline.extend(in_(10))
        capped.deadline.cap(in_(0.02))
        with pytest.raises(GatewayError, match="too late"):
            await capped.outcome(in_(10))
        assert not extended.done
    assert not through.done
