"""Admission control grants a permit, lets a request wait, or rejects it at once. Every place is released."""

import asyncio

import pytest

from gateway.outbound import admission as admission_module
from gateway.outbound.admission import AdmissionControl, AdmissionFault, AdmissionRefused
from gateway.outbound.circuit_breaker import Circuit
from gateway.outbound.deadline import Deadline
from gateway.outbound.limits import BreakerLimits, Limits, RetryLimits
from tests.gateway.outbound.harness import LONG, ManualClock


def _admission(clock: ManualClock | None = None, **limits: float) -> AdmissionControl:
    defaults = {"max_concurrent_calls": 1, "max_queued_calls": 1}
    return AdmissionControl("acme", Limits(**{**defaults, **limits}), clock=clock or ManualClock())  # type: ignore[arg-type]


async def _rejection(admission: AdmissionControl, seconds: float = LONG) -> AdmissionRefused:
    with pytest.raises(AdmissionRefused) as refused:
        await admission.acquire(Deadline.after(seconds))
    return refused.value


def _open(admission: AdmissionControl) -> None:
    for _ in range(BreakerLimits().min_requests):
        permit = admission.try_acquire()
        assert permit is not None
        with permit:
            permit.record_result(failed=True)
    assert admission.circuit is Circuit.OPEN


async def test_a_permit_is_released_after_an_error() -> None:
    """The end of its body releases the place, also by an exception."""
    admission = _admission()
    permit = await admission.acquire(Deadline.after(LONG))
    assert admission.in_flight == 1
    with pytest.raises(ZeroDivisionError), permit:
        raise ZeroDivisionError
    assert admission.in_flight == 0


async def test_a_full_bulkhead_and_queue_reject_at_once() -> None:
    """The next request after a release is admitted."""
    admission = _admission(max_queued_calls=0)
    with await admission.acquire(Deadline.after(LONG)):
        assert admission.try_acquire() is None
        assert (await _rejection(admission)).fault is AdmissionFault.BUSY
    assert admission.try_acquire() is not None


async def test_an_open_circuit_rejects_with_a_retry_delay() -> None:
    """Nothing waits for a failing provider, and the probe is admitted."""
    clock = ManualClock()
    admission = _admission(clock)
    changes: list[Circuit] = []
    admission.listeners.append(changes.append)
    _open(admission)
    clock.advance(1)
    refused = await _rejection(admission)
    assert (refused.fault, refused.retry_after_s) == (AdmissionFault.CIRCUIT_OPEN, BreakerLimits().open_s - 1)
    assert admission.try_acquire() is None
    clock.advance(BreakerLimits().open_s)
    with await admission.acquire(Deadline.after(LONG)) as probe:
        probe.record_result(failed=False)
    assert admission.circuit is Circuit.CLOSED
    assert changes == [Circuit.OPEN, Circuit.CLOSED]
    assert admission.in_flight == 0


async def test_a_queued_request_is_rejected_where_the_circuit_opened_meanwhile() -> None:
    """Its place is released."""
    clock = ManualClock()
    admission = _admission(clock, max_concurrent_calls=51, max_queued_calls=1)
    permits = [await admission.acquire(Deadline.after(LONG)) for _ in range(51)]
    waiting = asyncio.create_task(admission.acquire(Deadline.after(LONG)))
    await asyncio.sleep(0)
    assert admission.queued == 1
    for permit in permits:
        permit.record_result(failed=True)
        with permit:
            pass
    with pytest.raises(AdmissionRefused, match="failed too often"):
        await waiting
    assert admission.in_flight == 0


async def test_nothing_is_queued_while_the_circuit_is_open() -> None:
    """A full bulkhead makes no difference."""
    admission = _admission(max_concurrent_calls=51)
    permits = [await admission.acquire(Deadline.after(LONG)) for _ in range(51)]
    for permit in permits[:50]:
        permit.record_result(failed=True)
        with permit:
            pass
    admission.set_limits(Limits(max_concurrent_calls=1), admission.retry, BreakerLimits())
    assert admission.in_flight == 1
    async with asyncio.timeout(60):
        assert (await _rejection(admission)).fault is AdmissionFault.CIRCUIT_OPEN


async def test_a_request_without_time_left_after_waiting_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be cut off with an unknown outcome."""
    monkeypatch.setattr(admission_module, "MIN_ATTEMPT_TIME_S", LONG / 2)
    admission = _admission()
    held = await admission.acquire(Deadline.after(LONG))
    waiting = asyncio.create_task(admission.acquire(Deadline.after(LONG / 3)))
    await asyncio.sleep(0)
    with held:
        pass
    with pytest.raises(AdmissionRefused, match="too little time was left"):
        await waiting
    assert admission.in_flight == 0


async def test_the_rate_limit_is_kept() -> None:
    """A request waits for its turn where that is before its deadline, and is rejected at once otherwise."""
    clock = ManualClock()
    admission = _admission(clock, calls_per_s=20.0, max_concurrent_calls=10)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert admission.try_acquire() is None
    for _ in range(3):
        with await admission.acquire(Deadline.after(LONG)):
            pass
    assert loop.time() - begun >= 0.1  # the clock does not advance: the second waits for 0.05 s, the third for 0.1 s
    refused = await _rejection(admission, 0.12)
    assert refused.fault is AdmissionFault.BUSY
    assert refused.retry_after_s == pytest.approx(0.15)


async def test_new_limits_apply_at_once() -> None:
    """They apply to later and to queued requests."""
    admission = _admission()
    first = await admission.acquire(Deadline.after(LONG))
    waiting = asyncio.create_task(admission.acquire(Deadline.after(LONG)))
    await asyncio.sleep(0)
    admission.set_limits(
        Limits(max_concurrent_calls=2, calls_per_s=None), RetryLimits(attempts=1), BreakerLimits(min_requests=60)
    )
    second = await waiting
    assert (admission.in_flight, admission.retry.attempts) == (2, 1)
    for permit in (first, second):
        with permit:
            permit.record_result(failed=True)
    for _ in range(57):
        with await admission.acquire(Deadline.after(LONG)) as permit:
            permit.record_result(failed=True)
    assert admission.circuit is Circuit.CLOSED
