"""The circuit breaker opens for a sick provider only, and finds out by one request at a time when it is well again."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.outbound.circuit_breaker import Circuit, CircuitBreaker
from gateway.outbound.limits import BreakerLimits
from tests.gateway.outbound.clocks import Hands

LIMITS = BreakerLimits(window_s=10, min_requests=50, failure_ratio=0.5, open_s=5, probe_s=3)


class House:
    """A breaker, its clock, and what it has said of itself."""

    def __init__(self, limits: BreakerLimits = LIMITS) -> None:
        self.hands = Hands()
        self.said: list[Circuit] = []
        self.breaker = CircuitBreaker(limits, self.hands, self.said.append)

    def circuit(self) -> Circuit:
        """The breaker's state, read anew each time."""
        return self.breaker.circuit

    def ask(self, *, failed: bool | None) -> None:
        """Let one request through, and tell what came of it."""
        ticket = self.breaker.admit()
        assert ticket is not None
        self.breaker.record_result(ticket, failed=failed)

    def opened(self) -> "House":
        """Fail until it opens."""
        for _ in range(LIMITS.min_requests):
            self.ask(failed=True)
        assert self.circuit() is Circuit.OPEN
        return self


def test_few_requests_prove_nothing() -> None:
    """However many of them fail, fewer than the least number in the window open nothing."""
    house = House()
    for _ in range(LIMITS.min_requests - 1):
        house.ask(failed=True)
    assert house.circuit() is Circuit.CLOSED
    house.ask(failed=True)
    assert house.circuit() is Circuit.OPEN


@pytest.mark.parametrize(("failures", "circuit"), [(49, Circuit.CLOSED), (50, Circuit.OPEN)])
def test_the_part_that_failed_decides(failures: int, circuit: Circuit) -> None:
    """It opens when the part that failed reaches the ratio, and not before."""
    house = House()
    for _ in range(100 - failures):
        house.ask(failed=False)
    for _ in range(failures):
        house.ask(failed=True)
    assert house.circuit() is circuit


def test_what_is_long_ago_is_forgotten() -> None:
    """Failures that the window has left behind count no more."""
    house = House()
    for _ in range(LIMITS.min_requests - 1):
        house.ask(failed=True)
    house.hands.pass_(LIMITS.window_s + 1)
    house.ask(failed=True)
    assert house.circuit() is Circuit.CLOSED


def test_what_came_to_nothing_counts_for_nothing() -> None:
    """A request that was not sent, or whose caller left it no time, neither opens nor closes the circuit."""
    house = House()
    for _ in range(10 * LIMITS.min_requests):
        house.ask(failed=None)
    for _ in range(LIMITS.min_requests - 1):
        house.ask(failed=True)
    assert house.circuit() is Circuit.CLOSED
    house.ask(failed=True)
    house.hands.pass_(LIMITS.open_s)
    house.ask(failed=None)
    assert house.circuit() is Circuit.HALF_OPEN
    assert house.breaker.retry_after() == 0


def test_open_lets_nothing_through_until_its_time() -> None:
    """It says how long that is."""
    house = House().opened()
    assert house.breaker.admit() is None
    assert house.breaker.retry_after() == LIMITS.open_s
    house.hands.pass_(LIMITS.open_s - 1)
    assert (house.breaker.admit(), house.breaker.retry_after()) == (None, 1)


def test_half_open_lets_one_through() -> None:
    """All others wait for what the one finds, and are told for how long."""
    house = House().opened()
    house.hands.pass_(LIMITS.open_s)
    assert house.circuit() is Circuit.HALF_OPEN
    probe = house.breaker.admit()
    assert probe is not None
    assert house.breaker.admit() is None
    assert house.breaker.retry_after() == LIMITS.probe_s
    house.breaker.record_result(probe, failed=False)
    assert house.circuit() is Circuit.CLOSED
    assert house.said == [Circuit.OPEN, Circuit.CLOSED]


def test_a_probe_that_fails_shuts_it_again() -> None:
    """For as long as the first time."""
    house = House().opened()
    house.hands.pass_(LIMITS.open_s)
    house.ask(failed=True)
    assert house.circuit() is Circuit.OPEN
    assert house.breaker.retry_after() == LIMITS.open_s


def test_a_probe_that_stalls_is_given_up() -> None:
    """Another is let through, and if the stalled one fails later it is not listened to."""
    house = House().opened()
    house.hands.pass_(LIMITS.open_s)
    stalled = house.breaker.admit()
    house.hands.pass_(LIMITS.probe_s)
    probe = house.breaker.admit()
    assert stalled is not None
    assert probe is not None
    house.breaker.record_result(stalled, failed=True)
    house.breaker.record_result(stalled, failed=None)
    assert house.circuit() is Circuit.HALF_OPEN
    assert house.breaker.admit() is None
    house.breaker.record_result(probe, failed=False)
    assert house.circuit() is Circuit.CLOSED


def test_a_provider_that_answers_slowly_is_not_shut_for_good() -> None:
    """Each probe takes longer than probes are waited for, and another has begun by then: its answer counts."""
    house = House().opened()
    house.hands.pass_(LIMITS.open_s)
    slow = house.breaker.admit()
    house.hands.pass_(LIMITS.probe_s)
    next_one = house.breaker.admit()
    assert slow is not None
    assert next_one is not None
    house.breaker.record_result(slow, failed=False)
    assert house.circuit() is Circuit.CLOSED
    house.breaker.record_result(next_one, failed=True)
    assert house.circuit() is Circuit.CLOSED


def test_a_slow_probe_of_before_another_failed_proves_nothing() -> None:
    """The circuit has opened anew since then."""
    house = House().opened()
    house.hands.pass_(LIMITS.open_s)
    slow = house.breaker.admit()
    house.hands.pass_(LIMITS.probe_s)
    house.ask(failed=True)
    assert slow is not None
    house.breaker.record_result(slow, failed=False)
    assert house.circuit() is Circuit.OPEN


def test_what_was_sent_before_tells_nothing_of_after() -> None:
    """Answers to requests from before the circuit opened neither close it nor open it again."""
    house = House()
    early = [house.breaker.admit() for _ in range(LIMITS.min_requests)]
    house.opened()
    house.hands.pass_(LIMITS.open_s)
    for ticket in early:
        assert ticket is not None
        house.breaker.record_result(ticket, failed=False)
    assert house.circuit() is Circuit.HALF_OPEN
    house.ask(failed=False)
    for ticket in early:
        assert ticket is not None
        house.breaker.record_result(ticket, failed=True)
    assert house.circuit() is Circuit.CLOSED


def test_other_limits_hold_at_once() -> None:
    """Another window begins anew, for its parts have another length."""
    house = House()
    for _ in range(LIMITS.min_requests - 1):
        house.ask(failed=True)
    house.breaker.set_limits(BreakerLimits(window_s=100, min_requests=60, failure_ratio=0.5, open_s=1, probe_s=1))
    for _ in range(59):
        house.ask(failed=True)
    assert house.circuit() is Circuit.CLOSED
    house.ask(failed=True)
    assert house.breaker.retry_after() == 1


class BreakerMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, an open circuit lets nothing through but one probe at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.house = House()
        self.out: list[int] = []
        self.shut_at: float | None = None
        self.probe: tuple[int, float] | None = None
        self.given_up: set[int] = set()

    def _seen(self) -> None:
        """Notice whether the circuit has turned."""
        if self.house.circuit() is Circuit.CLOSED:
            self.shut_at = self.probe = None
            self.given_up.clear()
        elif self.shut_at is None:
            self.shut_at = self.house.hands.now

    @rule(times=st.integers(1, 60))
    def fail(self, times: int) -> None:
        """Requests fail one after the other."""
        for _ in range(times):
            ticket = self.house.breaker.admit()
            if ticket is None:
                return
            self._admitted(ticket)
            self._tell(ticket, failed=True)

    @rule(times=st.integers(1, 60))
    def begin(self, times: int) -> None:
        """Requests begin, and are answered later or never."""
        for _ in range(times):
            ticket = self.house.breaker.admit()
            if ticket is None:
                return
            self._admitted(ticket)
            self.out.append(ticket)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), failed=st.sampled_from([True, False, None]))
    def end(self, data: st.DataObject, failed: bool | None) -> None:
        """One of them comes back."""
        self._tell(self.out.pop(data.draw(st.integers(0, len(self.out) - 1))), failed=failed)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 5.0, 20.0]))
    def pass_(self, seconds: float) -> None:
        """Time goes by."""
        self.house.hands.pass_(seconds)

    @invariant()
    def what_it_says_is_so(self) -> None:
        """Who is told to come later is not let through now."""
        breaker = self.house.breaker
        assert (breaker.retry_after() > 0) <= (self.house.circuit() is not Circuit.CLOSED)

    def _admitted(self, ticket: int) -> None:
        now = self.house.hands.now
        if self.shut_at is None:
            return
        assert now >= self.shut_at + LIMITS.open_s, "a request went out while the circuit was open"
        assert self.probe is None or now >= self.probe[1] + LIMITS.probe_s, "two probes at a time"
        if self.probe is not None:
            self.given_up.add(self.probe[0])
        self.probe = (ticket, now)

    def _tell(self, ticket: int, *, failed: bool | None) -> None:
        was_open = self.shut_at is not None
        before = self.house.circuit()
        self.house.breaker.record_result(ticket, failed=failed)
        after = self.house.circuit()
        mine = self.probe is not None and self.probe[0] == ticket
        if ticket in self.given_up and failed is False:
            assert after is Circuit.CLOSED, "an answer was not listened to"
        elif was_open and not mine:
            assert after is before, "what was sent before the circuit opened has turned it"
        if mine:
            self.probe = None
            if failed:
                self.shut_at = self.house.hands.now
                self.given_up.clear()
        self._seen()


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
