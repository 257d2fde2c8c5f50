"""The circuit breaker of one provider: while the provider fails, calls are rejected at once, and one probe at a time is
sent.

Published packages let every waiting call through when half-open, and count a caller's cancellation as a failure.
"""

from collections import deque
from collections.abc import Callable
from enum import StrEnum, unique

import msgspec

from gateway.outbound.limits import BreakerLimits

_SLOTS = 10
"""Parts of the sliding window."""


@unique
class Circuit(StrEnum):
    """Names as in the proto's CircuitState, without its prefix."""

    CLOSED = "CLOSED"
    """Requests are sent."""
    OPEN = "OPEN"
    """Nothing is sent."""
    HALF_OPEN = "HALF_OPEN"
    """One request may be sent as a probe, or is in flight."""


class _Slot(msgspec.Struct):
    number: int
    requests: int = 0
    failures: int = 0


class CircuitBreaker:
    """Counts the results of requests. `clock` is monotonic, in seconds; `on_change` is called after a change of state.

    `admit` returns a generation, which the caller passes to `record_result` once. Results of an earlier generation are
    ignored: a request that was sent before the circuit opened does not close it. Only the success of a probe that has
    timed out counts: otherwise a provider that takes longer than `probe_s` would never be called again.
    """

    def __init__(self, limits: BreakerLimits, clock: Callable[[], float], on_change: Callable[[Circuit], None]) -> None:
        self.limits = limits
        self._clock = clock
        self._on_change = on_change
        self._slots: deque[_Slot] = deque()
        self._open_until: float | None = None
        """When the next probe may be sent; None while the circuit is closed."""
        self._probe_until: float | None = None
        """When the probe in flight times out; None where there is none."""
        self._generation = 0
        """Incremented with each change of state and with each probe."""
        self._changed_at = 0
        """The generation of the last change of state. Later ones are probes."""

    def set_limits(self, limits: BreakerLimits) -> None:
        """Use these limits from now on. An open circuit stays open as long as before."""
        if limits.window_s != self.limits.window_s:
            self._slots.clear()  # their numbers depend on it
        self.limits = limits

    @property
    def circuit(self) -> Circuit:
        """The present state."""
        if self._open_until is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self._clock() < self._open_until else Circuit.HALF_OPEN

    def retry_after(self) -> float:
        """Seconds until a request may be sent; 0 if it may be now."""
        if self._open_until is None:
            return 0.0
        until = self._open_until if self._probe_until is None else self._probe_until
        return max(0.0, until - self._clock())

    def admit(self) -> int | None:
        """The generation of a request that may be sent, or None."""
        if self._open_until is None:
            return self._generation
        if self.retry_after() > 0:
            return None
        self._generation += 1
        self._probe_until = self._clock() + self.limits.probe_s
        return self._generation

    def record_result(self, generation: int, *, failed: bool | None) -> None:
        """Whether the provider failed; None where nothing was sent or the request does not show it."""
        late = self._open_until is not None and self._changed_at < generation < self._generation
        if generation != self._generation and not (late and failed is False):
            return
        if self._open_until is not None:
            self._record_probe(failed)
        elif failed is not None:
            self._count(failed)

    def _record_probe(self, failed: bool | None) -> None:
        self._probe_until = None
        if failed is False:
            self._transition(None)
        elif failed:
            self._transition(self._clock() + self.limits.open_s)

    def _count(self, failed: bool) -> None:
        number = int(self._clock() * _SLOTS / self.limits.window_s)
        if not self._slots or self._slots[-1].number != number:
            self._slots.append(_Slot(number))
        slot = self._slots[-1]
        slot.requests += 1
        if failed:
            slot.failures += 1
            self._open_if_failing(number)
        elif len(self._slots) > _SLOTS:
            self._drop_old_slots(number)

    def _open_if_failing(self, number: int) -> None:
        self._drop_old_slots(number)
        requests = sum(slot.requests for slot in self._slots)
        failures = sum(slot.failures for slot in self._slots)
        if requests >= self.limits.min_requests and failures >= self.limits.failure_ratio * requests:
            self._transition(self._clock() + self.limits.open_s)

    def _drop_old_slots(self, number: int) -> None:
        while self._slots and self._slots[0].number <= number - _SLOTS:
            self._slots.popleft()

    def _transition(self, open_until: float | None) -> None:
        was_closed = self._open_until is None
        self._open_until = open_until
        self._generation += 1
        self._changed_at = self._generation
        self._slots.clear()
        if was_closed or open_until is None:
            self._on_change(self.circuit)
