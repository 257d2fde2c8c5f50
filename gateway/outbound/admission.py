"""The gate to one provider: whether a request may go out now, must wait, or is refused at once."""

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
"""Seconds that a request needs at the least. With less the provider is cut off: what it has done nobody would know, and
it would look sick.
"""


@unique
class AdmissionFault(StrEnum):
    """Why a request may not go out."""

    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    BUSY = "BUSY"


class AdmissionRefused(Exception):
    """Nothing was sent. `retry_after_s` is when it may be worth asking again, None where nobody knows."""

    def __init__(self, fault: AdmissionFault, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail
        self.retry_after_s = retry_after_s


class Permit:
    """Leave to send one request. A context manager: the place is given back when its body ends.

    Where nobody has told what came of it, nothing was asked of the provider, and its health stays as it is.
    """

    __slots__ = ("_breaker", "_bulkhead", "_failed", "_since", "_ticket")

    def __init__(self, bulkhead: Bulkhead, breaker: CircuitBreaker, ticket: int) -> None:
        self._bulkhead = bulkhead
        self._breaker = breaker
        self._ticket = ticket
        self._failed: bool | None = None
        self._since = monotonic()

    def record_result(self, *, failed: bool | None) -> None:
        """Whether the provider failed; None where the request says nothing of it."""
        self._failed = failed

    def __enter__(self) -> "Permit":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._breaker.record_result(self._ticket, failed=self._failed)
        self._bulkhead.release(monotonic() - self._since)


class AdmissionControl:
    """Circuit breaker, bulkhead, pace and retry budget of one provider."""

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
        self._pace = RateLimiter(self.limits.calls_per_s, clock)

    @property
    def in_flight(self) -> int:
        """Requests that hold a place."""
        return self._bulkhead.taken

    @property
    def queued(self) -> int:
        """Requests that wait for a place."""
        return self._bulkhead.waiting

    @property
    def circuit(self) -> Circuit:
        """The breaker's state."""
        return self._breaker.circuit

    def set_limits(self, limits: Limits, retry: RetryLimits, breaker: BreakerLimits) -> None:
        """From here on these hold; who is through or waits stays so."""
        self.limits = limits
        self.retry = retry
        self._breaker.set_limits(breaker)
        self._bulkhead.resize(limits.max_concurrent_calls, limits.max_queued_calls)
        self._pace.calls_per_s = limits.calls_per_s

    def try_acquire(self) -> Permit | None:
        """Leave for one request that need not wait; None where `enter` must decide."""
        if self._pace.calls_per_s or not self._bulkhead.try_acquire():
            return None
        ticket = self._breaker.admit()
        if ticket is None:
            self._bulkhead.release()
            return None
        return Permit(self._bulkhead, self._breaker, ticket)

    async def acquire(self, deadline: Deadline) -> Permit:
        """Leave for one request, as soon as it may go. Raises GateRefused, at once where to wait would be in vain."""
        self._refuse_where_shut()
        self._refuse_where_too_fast(deadline)
        try:
            await self._bulkhead.acquire(deadline)
        except BulkheadFull as none:
            raise AdmissionRefused(AdmissionFault.BUSY, f"{self._provider} is busy: {none}") from None
        try:
            await self._at_its_pace(deadline)
            return Permit(self._bulkhead, self._breaker, self._ticket())
        except BaseException:
            self._bulkhead.release()
            raise

    def _ticket(self) -> int:
        """The breaker may have opened while we waited."""
        ticket = self._breaker.admit()
        if ticket is None:
            raise self._shut()
        return ticket

    def _refuse_where_shut(self) -> None:
        if self._breaker.retry_after() > 0:
            raise self._shut()

    def _shut(self) -> AdmissionRefused:
        wait_s = self._breaker.retry_after()
        return AdmissionRefused(
            AdmissionFault.CIRCUIT_OPEN,
            f"{self._provider} has failed too often of late, and nothing is sent to it for another {wait_s:.1f} s: "
            "ask again then",
            wait_s,
        )

    def _refuse_where_too_fast(self, deadline: Deadline) -> None:
        wait_s = self._pace.wait_s()
        if wait_s > deadline.remaining():
            raise AdmissionRefused(
                AdmissionFault.BUSY,
                f"{self._provider} may be asked {self._pace.calls_per_s:g} times a second, and the next free moment is "
                f"{wait_s:.1f} s away, longer than the call has",
                wait_s,
            )

    async def _at_its_pace(self, deadline: Deadline) -> None:
        self._refuse_where_too_fast(deadline)
        wait_s = self._pace.take()
        if wait_s > 0:
            await deadline.sleep(wait_s)
        if deadline.remaining() < MIN_ATTEMPT_TIME_S:
            raise AdmissionRefused(
                AdmissionFault.BUSY, f"{self._provider} was not asked: its turn came too late for this call"
            )

    def _on_state_change(self, circuit: Circuit) -> None:
        if circuit is Circuit.CLOSED:
            log.info("circuit closed: the provider answers again", provider=self._provider)
        else:
            log.warning(
                "circuit opened: the provider fails", provider=self._provider, seconds=self._breaker.limits.open_s
            )
        for listener in self.listeners:
            listener(circuit)
