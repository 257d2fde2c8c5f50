"""The circuit breaker of one provider: when it is sick, nobody waits for it, and one request at a time finds out more.

Written by hand: what is published lets every waiting call through when it is half-open, and counts a caller's
cancellation as the provider's failure.
"""

from collections import deque
from collections.abc import Callable
from enum import StrEnum, unique

import msgspec

from gateway.outbound.limits import BreakerLimits

_SLOTS = 10
"""Parts of the window: the oldest is forgotten at once."""


@unique
class Circuit(StrEnum):
    """Names as in the proto's CircuitState, without its prefix."""

    CLOSED = "CLOSED"
    """Requests flow."""
    OPEN = "OPEN"
    """Nothing is sent."""
    HALF_OPEN = "HALF_OPEN"
    """One request is let through, or may be."""


class _Slot(msgspec.Struct):
    number: int
    requests: int = 0
    failures: int = 0


class CircuitBreaker:
    """Counts what requests came to. `clock` is monotonic, in seconds; `changed` is called when the state has changed.

    Whoever is admitted holds a ticket and tells once what came of it. A ticket of an earlier state tells nothing: a
    request that was sent before the circuit opened does not close it. A probe that was given up and is answered after
    all does: else a provider that takes longer than `probe_s` would be shut for good.
    """

    def __init__(self, limits: BreakerLimits, clock: Callable[[], float], changed: Callable[[Circuit], None]) -> None:
        self.limits = limits
        self._clock = clock
        self._changed = changed
        self._slots: deque[_Slot] = deque()
        self._open_until: float | None = None
        """When the next probe may go; None while the circuit is closed."""
        self._probe_until: float | None = None
        """When the probe that is under way is given up; None where there is none."""
        self._term = 0
        """One more with each change, and with each probe."""
        self._turned_at = 0
        """The term in which the state changed last: later ones are those of probes."""

    def set_limits(self, limits: BreakerLimits) -> None:
        """From here on these hold. An open circuit stays open for as long as it was going to."""
        if limits.window_s != self.limits.window_s:
            self._slots.clear()  # they are numbered by its length
        self.limits = limits

    @property
    def circuit(self) -> Circuit:
        """The state at this moment."""
        if self._open_until is None:
            return Circuit.CLOSED
        return Circuit.OPEN if self._clock() < self._open_until else Circuit.HALF_OPEN

    def retry_after(self) -> float:
        """Seconds until a request may be let through; 0 where it may be now."""
        if self._open_until is None:
            return 0.0
        now = self._clock()
        if self._probe_until is not None:
            return max(0.0, self._probe_until - now)
        return max(0.0, self._open_until - now)

    def admit(self) -> int | None:
        """A ticket for one request, or None where the circuit does not let it through."""
        if self._open_until is None:
            return self._term
        if self.retry_after() > 0:
            return None
        self._term += 1
        self._probe_until = self._clock() + self.limits.probe_s
        return self._term

    def record_result(self, ticket: int, *, failed: bool | None) -> None:
        """What came of a request: whether the provider failed, or None where it was not asked in the end."""
        late = self._open_until is not None and self._turned_at < ticket < self._term
        if ticket != self._term and not (late and failed is False):
            return
        if self._open_until is not None:
            self._probed(failed)
        elif failed is not None:
            self._count(failed)

    def _probed(self, failed: bool | None) -> None:
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
            self._judge(number)
        elif len(self._slots) > _SLOTS:
            self._forget(number)

    def _judge(self, number: int) -> None:
        self._forget(number)
        requests = sum(slot.requests for slot in self._slots)
        failures = sum(slot.failures for slot in self._slots)
        if requests >= self.limits.min_requests and failures >= self.limits.failure_ratio * requests:
            self._transition(self._clock() + self.limits.open_s)

    def _forget(self, number: int) -> None:
        while self._slots and self._slots[0].number <= number - _SLOTS:
            self._slots.popleft()

    def _transition(self, open_until: float | None) -> None:
        was_closed = self._open_until is None
        self._open_until = open_until
        self._term += 1
        self._turned_at = self._term
        self._slots.clear()
        if was_closed or open_until is None:
            self._changed(self.circuit)
