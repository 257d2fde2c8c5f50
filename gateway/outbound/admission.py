"""Admission control for one provider: a request is sent now, waits, or is rejected at once."""

from collections.abc import Callable
from enum import StrEnum, unique
from time import monotonic
from types import TracebackType

import structlog

from gateway.outbound.bulkhead import Bulkhead, BulkheadFull
from gateway.outbound.circuit_breaker import Circuit, CircuitBreaker
from gateway.outbound.deadline import Deadline
from gateway.outbound.limits import BreakerLimits, Limits, RetryLimits
from gateway.outbound.rate_limiter import RateLimiter
from gateway.outbound.retry import RetryBudget

log = structlog.get_logger(__name__)


MIN_ATTEMPT_TIME_S = 0.1
"""Seconds that a request needs at least. With less it would be cut off with an unknown outcome, and the provider would
look as if it failed.
"""


@unique
class AdmissionFault(StrEnum):
    """Why a request is rejected."""

    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    BUSY = "BUSY"


class AdmissionRefused(Exception):
    """Nothing was sent. `retry_after_s` is when a retry may help; None where that is not known."""

    def __init__(self, fault: AdmissionFault, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail
        self.retry_after_s = retry_after_s


class Permit:
    """Allows one request. A context manager: its end releases the place in the bulkhead.

    Without a recorded result the request counts as not sent, and the circuit breaker does not count it.
    """

    __slots__ = ("_breaker", "_bulkhead", "_failed", "_generation", "_since")

    def __init__(self, bulkhead: Bulkhead, breaker: CircuitBreaker, generation: int) -> None:
        self._bulkhead = bulkhead
        self._breaker = breaker
        self._generation = generation
        self._failed: bool | None = None
        self._since = monotonic()

    def record_result(self, *, failed: bool | None) -> None:
        """Whether the provider failed; None where the request does not show it."""
        self._failed = failed

    def __enter__(self) -> "Permit":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._breaker.record_result(self._generation, failed=self._failed)
        self._bulkhead.release(monotonic() - self._since)


class AdmissionControl:
    """Circuit breaker, bulkhead, rate limiter and retry budget of one provider."""

    def __init__(
        self,
        provider: str,
        limits: Limits | None = None,
        retry: RetryLimits | None = None,
        breaker: BreakerLimits | None = None,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.limits = limits or Limits()
        self.retry = retry or RetryLimits()
        self.budget = RetryBudget(clock)
        self.listeners: list[Callable[[Circuit], None]] = []
        """Called when the circuit opens or closes."""
        self._provider = provider
        self._breaker = CircuitBreaker(breaker or BreakerLimits(), clock, self._on_state_change)
        self._bulkhead = Bulkhead(self.limits.max_concurrent_calls, self.limits.max_queued_calls)
        self._rate_limiter = RateLimiter(self.limits.calls_per_s, clock)

    @property
    def in_flight(self) -> int:
        """Requests that hold a permit, or wait for the rate limiter."""
        return self._bulkhead.in_flight

    @property
    def queued(self) -> int:
        """Requests that wait for the bulkhead."""
        return self._bulkhead.queued

    @property
    def circuit(self) -> Circuit:
        """The circuit breaker's state."""
        return self._breaker.circuit

    def set_limits(self, limits: Limits, retry: RetryLimits, breaker: BreakerLimits) -> None:
        """Use these limits from now on. Requests that are in flight or queued stay so."""
        self.limits = limits
        self.retry = retry
        self._breaker.set_limits(breaker)
        self._bulkhead.resize(limits.max_concurrent_calls, limits.max_queued_calls)
        self._rate_limiter.calls_per_s = limits.calls_per_s

    def try_acquire(self) -> Permit | None:
        """A permit for a request that need not wait; None where `acquire` must decide."""
        if self._rate_limiter.calls_per_s or not self._bulkhead.try_acquire():
            return None
        return self._admit()

    async def acquire(self, deadline: Deadline) -> Permit:
        """Wait for a permit. Raises AdmissionRefused, at once where waiting cannot help."""
        if self._breaker.retry_after() > 0:
            raise self._circuit_open()
        self._check_rate(deadline)
        try:
            await self._bulkhead.acquire(deadline)
        except BulkheadFull as full:
            raise AdmissionRefused(AdmissionFault.BUSY, f"{self._provider} is busy: {full}") from None
        try:
            await self._wait_for_rate(deadline)
        except BaseException:
            self._bulkhead.release()
            raise
        permit = self._admit()
        if permit is None:  # the circuit opened meanwhile
            raise self._circuit_open()
        return permit

    def _admit(self) -> Permit | None:
        """A permit for the acquired place, which is released where the circuit is open."""
        generation = self._breaker.admit()
        if generation is None:
            self._bulkhead.release()
            return None
        return Permit(self._bulkhead, self._breaker, generation)

    def _circuit_open(self) -> AdmissionRefused:
        wait_s = self._breaker.retry_after()
        return AdmissionRefused(
            AdmissionFault.CIRCUIT_OPEN,
            f"{self._provider} has failed too often recently, and nothing is sent to it for another {wait_s:.1f} s: "
            "try again then",
            wait_s,
        )

    def _check_rate(self, deadline: Deadline) -> None:
        wait_s = self._rate_limiter.wait_s()
        if wait_s > deadline.remaining():
            raise AdmissionRefused(
                AdmissionFault.BUSY,
                f"{self._provider} is limited to {self._rate_limiter.calls_per_s:g} calls a second. The next is "
                f"possible in {wait_s:.1f} s, which is after the call's deadline: try again then",
                wait_s,
            )

    async def _wait_for_rate(self, deadline: Deadline) -> None:
        self._check_rate(deadline)
        wait_s = self._rate_limiter.reserve()
        if wait_s > 0:
            await deadline.sleep(wait_s)
        if deadline.remaining() < MIN_ATTEMPT_TIME_S:
            raise AdmissionRefused(
                AdmissionFault.BUSY,
                f"nothing was sent to {self._provider}: too little time was left after waiting, give it more",
            )

    def _on_state_change(self, circuit: Circuit) -> None:
        if circuit is Circuit.CLOSED:
            log.info("circuit closed", provider=self._provider)
        else:
            open_ms = round(self._breaker.limits.open_s * 1000)
            log.warning("circuit opened", provider=self._provider, duration_ms=open_ms)
        for listener in self.listeners:
            listener(circuit)
