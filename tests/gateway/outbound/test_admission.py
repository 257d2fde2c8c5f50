"""The gate lets a request out, has it wait, or refuses it at once; a place is given back whatever happens."""

import asyncio

import pytest

from gateway.outbound.admission import MIN_ATTEMPT_TIME_S, AdmissionControl, AdmissionFault, AdmissionRefused
from gateway.outbound.circuit_breaker import Circuit
from gateway.outbound.deadline import Deadline
from gateway.outbound.limits import BreakerLimits, Limits, RetryLimits
from tests.gateway.outbound.clocks import Hands

LONG = 30.0


def _gate(hands: Hands | None = None, **limits: float) -> AdmissionControl:
    usual = {"max_concurrent_calls": 1, "max_queued_calls": 1}
    return AdmissionControl("acme", Limits(**{**usual, **limits}), clock=hands or Hands())  # type: ignore[arg-type]


async def _refused(gate: AdmissionControl, seconds: float = LONG) -> AdmissionRefused:
    with pytest.raises(AdmissionRefused) as refused:
        await gate.acquire(Deadline.after(seconds))
    return refused.value


def _open(gate: AdmissionControl) -> None:
    for _ in range(BreakerLimits().min_requests):
        permit = gate.try_acquire()
        assert permit is not None
        with permit:
            permit.record_result(failed=True)
    assert gate.circuit is Circuit.OPEN


async def test_a_place_is_given_back_whatever_happens() -> None:
    """Also where the request ends with an error."""
    gate = _gate()
    permit = await gate.acquire(Deadline.after(LONG))
    assert gate.in_flight == 1
    with pytest.raises(ZeroDivisionError), permit:
        raise ZeroDivisionError
    assert gate.in_flight == 0


async def test_a_busy_provider_is_refused_at_once() -> None:
    """Where the places and the queue are full; the next one after that goes through."""
    gate = _gate(max_queued_calls=0)
    with await gate.acquire(Deadline.after(LONG)):
        assert gate.try_acquire() is None
        assert (await _refused(gate)).fault is AdmissionFault.BUSY
    assert gate.try_acquire() is not None


async def test_an_open_circuit_refuses_and_says_until_when() -> None:
    """Nothing waits for a sick provider, and no place is kept from the probe that will look."""
    hands = Hands()
    gate = _gate(hands)
    turned: list[Circuit] = []
    gate.listeners.append(turned.append)
    _open(gate)
    hands.pass_(1)
    refused = await _refused(gate)
    assert (refused.fault, refused.retry_after_s) == (AdmissionFault.CIRCUIT_OPEN, BreakerLimits().open_s - 1)
    assert gate.try_acquire() is None
    hands.pass_(BreakerLimits().open_s)
    with await gate.acquire(Deadline.after(LONG)) as probe:
        probe.record_result(failed=False)
    assert gate.circuit is Circuit.CLOSED
    assert turned == [Circuit.OPEN, Circuit.CLOSED]
    assert gate.in_flight == 0


async def test_who_waited_while_the_circuit_opened_is_not_let_through() -> None:
    """And leaves the place."""
    hands = Hands()
    gate = _gate(hands, max_concurrent_calls=51, max_queued_calls=1)
    permits = [await gate.acquire(Deadline.after(LONG)) for _ in range(51)]
    waiting = asyncio.create_task(gate.acquire(Deadline.after(LONG)))
    await asyncio.sleep(0)
    assert gate.queued == 1
    for permit in permits:
        permit.record_result(failed=True)
        with permit:
            pass
    with pytest.raises(AdmissionRefused, match="failed too often"):
        await waiting
    assert gate.in_flight == 0


async def test_nobody_queues_at_an_open_circuit() -> None:
    """Also where the places are taken, by calls of before."""
    gate = _gate(max_concurrent_calls=51)
    permits = [await gate.acquire(Deadline.after(LONG)) for _ in range(51)]
    for permit in permits[:50]:
        permit.record_result(failed=True)
        with permit:
            pass
    gate.set_limits(Limits(max_concurrent_calls=1), gate.retry, BreakerLimits())
    assert gate.in_flight == 1
    async with asyncio.timeout(5):
        assert (await _refused(gate)).fault is AdmissionFault.CIRCUIT_OPEN


async def test_who_had_to_wait_and_has_no_time_left_is_not_sent() -> None:
    """A provider that is cut off would look sick, and nobody would know what it has done."""
    gate = _gate()
    held = await gate.acquire(Deadline.after(LONG))
    waiting = asyncio.create_task(gate.acquire(Deadline.after(MIN_ATTEMPT_TIME_S * 0.9)))
    await asyncio.sleep(0)
    with held:
        pass
    with pytest.raises(AdmissionRefused, match="too late"):
        await waiting
    assert gate.in_flight == 0


async def test_the_vendors_pace_is_kept() -> None:
    """A call waits for its moment where that comes in time, and is refused at once where it does not."""
    hands = Hands()
    gate = _gate(hands, calls_per_s=20.0, max_concurrent_calls=10)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert gate.try_acquire() is None
    for _ in range(3):
        with await gate.acquire(Deadline.after(LONG)):
            pass
    assert loop.time() - begun >= 0.1  # the hands stand still: the second waits for 0.05 s, the third for 0.1 s
    refused = await _refused(gate, 0.12)
    assert refused.fault is AdmissionFault.BUSY
    assert refused.retry_after_s == pytest.approx(0.15)


async def test_new_limits_hold_at_once() -> None:
    """For those who come, and for those who wait."""
    gate = _gate()
    first = await gate.acquire(Deadline.after(LONG))
    waiting = asyncio.create_task(gate.acquire(Deadline.after(LONG)))
    await asyncio.sleep(0)
    gate.set_limits(
        Limits(max_concurrent_calls=2, calls_per_s=None), RetryLimits(attempts=1), BreakerLimits(min_requests=60)
    )
    second = await waiting
    assert (gate.in_flight, gate.retry.attempts) == (2, 1)
    for permit in (first, second):
        with permit:
            permit.record_result(failed=True)
    for _ in range(57):
        with await gate.acquire(Deadline.after(LONG)) as permit:
            permit.record_result(failed=True)
    assert gate.circuit is Circuit.CLOSED
