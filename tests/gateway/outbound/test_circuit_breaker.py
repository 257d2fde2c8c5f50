"""The circuit breaker opens for a failing provider only, and closes after the success of a probe."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.outbound.circuit_breaker import Circuit, CircuitBreaker
from gateway.outbound.limits import BreakerLimits
from tests.gateway.outbound.harness import ManualClock

LIMITS = BreakerLimits(window_s=10, min_requests=50, failure_ratio=0.5, open_s=5, probe_s=3)


class BreakerHarness:
    """A circuit breaker, its clock, and its reported changes."""

    def __init__(self, limits: BreakerLimits = LIMITS) -> None:
        self.clock = ManualClock()
        self.changes: list[Circuit] = []
        self.breaker = CircuitBreaker(limits, self.clock, self.changes.append)

    def circuit(self) -> Circuit:
        """The present state."""
        return self.breaker.circuit

    def request(self, *, failed: bool | None) -> None:
        """Admit one request and record its result."""
        generation = self.breaker.admit()
        assert generation is not None
        self.breaker.record_result(generation, failed=failed)

    def opened(self) -> "BreakerHarness":
        """Fail until the circuit opens."""
        for _ in range(LIMITS.min_requests):
            self.request(failed=True)
        assert self.circuit() is Circuit.OPEN
        return self


def test_few_requests_do_not_open_the_circuit() -> None:
    """Below the minimum number in the window the circuit stays closed, even where all of them fail."""
    harness = BreakerHarness()
    for _ in range(LIMITS.min_requests - 1):
        harness.request(failed=True)
    assert harness.circuit() is Circuit.CLOSED
    harness.request(failed=True)
    assert harness.circuit() is Circuit.OPEN


@pytest.mark.parametrize(("failures", "circuit"), [(49, Circuit.CLOSED), (50, Circuit.OPEN)])
def test_the_failure_ratio_opens_the_circuit(failures: int, circuit: Circuit) -> None:
    """It opens when the failed part reaches the ratio, and not before."""
    harness = BreakerHarness()
    for _ in range(100 - failures):
        harness.request(failed=False)
    for _ in range(failures):
        harness.request(failed=True)
    assert harness.circuit() is circuit


def test_old_failures_do_not_count() -> None:
    """Only failures within the window count."""
    harness = BreakerHarness()
    for _ in range(LIMITS.min_requests - 1):
        harness.request(failed=True)
    harness.clock.advance(LIMITS.window_s + 1)
    harness.request(failed=True)
    assert harness.circuit() is Circuit.CLOSED


def test_requests_without_a_result_do_not_count() -> None:
    """A request that was not sent, or had no time for an answer, neither opens nor closes the circuit."""
    harness = BreakerHarness()
    for _ in range(10 * LIMITS.min_requests):
        harness.request(failed=None)
    for _ in range(LIMITS.min_requests - 1):
        harness.request(failed=True)
    assert harness.circuit() is Circuit.CLOSED
    harness.request(failed=True)
    harness.clock.advance(LIMITS.open_s)
    harness.request(failed=None)
    assert harness.circuit() is Circuit.HALF_OPEN
    assert harness.breaker.retry_after() == 0


def test_an_open_circuit_admits_nothing() -> None:
    """It reports how long it stays open."""
    harness = BreakerHarness().opened()
    assert harness.breaker.admit() is None
    assert harness.breaker.retry_after() == LIMITS.open_s
    harness.clock.advance(LIMITS.open_s - 1)
    assert (harness.breaker.admit(), harness.breaker.retry_after()) == (None, 1)


def test_half_open_admits_one_probe() -> None:
    """All other requests are rejected until it ends, with the time it may take."""
    harness = BreakerHarness().opened()
    harness.clock.advance(LIMITS.open_s)
    assert harness.circuit() is Circuit.HALF_OPEN
    probe = harness.breaker.admit()
    assert probe is not None
    assert harness.breaker.admit() is None
    assert harness.breaker.retry_after() == LIMITS.probe_s
    harness.breaker.record_result(probe, failed=False)
    assert harness.circuit() is Circuit.CLOSED
    assert harness.changes == [Circuit.OPEN, Circuit.CLOSED]


def test_a_failed_probe_opens_the_circuit_again() -> None:
    """It stays open as long as the first time."""
    harness = BreakerHarness().opened()
    harness.clock.advance(LIMITS.open_s)
    harness.request(failed=True)
    assert harness.circuit() is Circuit.OPEN
    assert harness.breaker.retry_after() == LIMITS.open_s


def test_a_probe_times_out() -> None:
    """Another one is admitted, and a later failure of the first is ignored."""
    harness = BreakerHarness().opened()
    harness.clock.advance(LIMITS.open_s)
    timed_out = harness.breaker.admit()
    harness.clock.advance(LIMITS.probe_s)
    probe = harness.breaker.admit()
    assert timed_out is not None
    assert probe is not None
    harness.breaker.record_result(timed_out, failed=True)
    harness.breaker.record_result(timed_out, failed=None)
    assert harness.circuit() is Circuit.HALF_OPEN
    assert harness.breaker.admit() is None
    harness.breaker.record_result(probe, failed=False)
    assert harness.circuit() is Circuit.CLOSED


def test_a_slow_provider_closes_the_circuit() -> None:
    """The success of a probe counts also after it has timed out and another one has begun."""
    harness = BreakerHarness().opened()
    harness.clock.advance(LIMITS.open_s)
    slow = harness.breaker.admit()
    harness.clock.advance(LIMITS.probe_s)
    next_one = harness.breaker.admit()
    assert slow is not None
    assert next_one is not None
    harness.breaker.record_result(slow, failed=False)
    assert harness.circuit() is Circuit.CLOSED
    harness.breaker.record_result(next_one, failed=True)
    assert harness.circuit() is Circuit.CLOSED


def test_a_slow_probe_does_not_count_after_another_failed() -> None:
    """The circuit has opened again since then."""
    harness = BreakerHarness().opened()
    harness.clock.advance(LIMITS.open_s)
    slow = harness.breaker.admit()
    harness.clock.advance(LIMITS.probe_s)
    harness.request(failed=True)
    assert slow is not None
    harness.breaker.record_result(slow, failed=False)
    assert harness.circuit() is Circuit.OPEN


def test_results_from_before_the_change_do_not_count() -> None:
    """Requests that were sent before the circuit opened neither close it nor open it again."""
    harness = BreakerHarness()
    early = [harness.breaker.admit() for _ in range(LIMITS.min_requests)]
    harness.opened()
    harness.clock.advance(LIMITS.open_s)
    for generation in early:
        assert generation is not None
        harness.breaker.record_result(generation, failed=False)
    assert harness.circuit() is Circuit.HALF_OPEN
    harness.request(failed=False)
    for generation in early:
        assert generation is not None
        harness.breaker.record_result(generation, failed=True)
    assert harness.circuit() is Circuit.CLOSED


def test_new_limits_apply_at_once() -> None:
    """Another window length restarts the count."""
    harness = BreakerHarness()
    for _ in range(LIMITS.min_requests - 1):
        harness.request(failed=True)
    harness.breaker.set_limits(BreakerLimits(window_s=100, min_requests=60, failure_ratio=0.5, open_s=1, probe_s=1))
    for _ in range(59):
        harness.request(failed=True)
    assert harness.circuit() is Circuit.CLOSED
    harness.request(failed=True)
    assert harness.breaker.retry_after() == 1


class BreakerMachine(RuleBasedStateMachine):
    """An open circuit admits only one probe at a time, in any order of events."""

    def __init__(self) -> None:
        super().__init__()
        self.harness = BreakerHarness()
        self.in_flight: list[int] = []
        self.opened_at: float | None = None
        self.probe: tuple[int, float] | None = None
        self.timed_out: set[int] = set()

    def _update(self) -> None:
        """Follow the state."""
        if self.harness.circuit() is Circuit.CLOSED:
            self.opened_at = self.probe = None
            self.timed_out.clear()
        elif self.opened_at is None:
            self.opened_at = self.harness.clock.now

    @rule(times=st.integers(1, 60))
    def fail(self, times: int) -> None:
        """Requests fail in sequence."""
        for _ in range(times):
            generation = self.harness.breaker.admit()
            if generation is None:
                return
            self._admitted(generation)
            self._record(generation, failed=True)

    @rule(times=st.integers(1, 60))
    def begin(self, times: int) -> None:
        """Requests begin, and end later or never."""
        for _ in range(times):
            generation = self.harness.breaker.admit()
            if generation is None:
                return
            self._admitted(generation)
            self.in_flight.append(generation)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), failed=st.sampled_from([True, False, None]))
    def end(self, data: st.DataObject, failed: bool | None) -> None:
        """One of them ends."""
        self._record(self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1))), failed=failed)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 5.0, 20.0]))
    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.harness.clock.advance(seconds)

    @invariant()
    def retry_after_fits_the_state(self) -> None:
        """A closed circuit reports no delay."""
        breaker = self.harness.breaker
        assert (breaker.retry_after() > 0) <= (self.harness.circuit() is not Circuit.CLOSED)

    def _admitted(self, generation: int) -> None:
        now = self.harness.clock.now
        if self.opened_at is None:
            return
        assert now >= self.opened_at + LIMITS.open_s, "a request went out while the circuit was open"
        assert self.probe is None or now >= self.probe[1] + LIMITS.probe_s, "two probes at a time"
        if self.probe is not None:
            self.timed_out.add(self.probe[0])
        self.probe = (generation, now)

    def _record(self, generation: int, *, failed: bool | None) -> None:
        was_open = self.opened_at is not None
        before = self.harness.circuit()
        self.harness.breaker.record_result(generation, failed=failed)
        after = self.harness.circuit()
        is_probe = self.probe is not None and self.probe[0] == generation
        if generation in self.timed_out and failed is False:
            assert after is Circuit.CLOSED, "the success of a probe was ignored"
        elif was_open and not is_probe:
            assert after is before, "a request from before the circuit opened has changed it"
        if is_probe:
            self.probe = None
            if failed:
                self.opened_at = self.harness.clock.now
                self.timed_out.clear()
        self._update()


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
