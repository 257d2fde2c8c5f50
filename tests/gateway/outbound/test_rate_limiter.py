"""The rate limit of a vendor's contract is kept, and no call waits longer than necessary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outbound.rate_limiter import RateLimiter
from tests.gateway.outbound.harness import ManualClock


@given(
    rate=st.sampled_from([0.5, 1.0, 3.0, 20.0]),
    gaps=st.lists(st.sampled_from([0.0, 0.01, 0.3, 1.0, 7.0]), min_size=1, max_size=80),
)
def test_no_second_has_more_than_the_contract_allows(rate: float, gaps: list[float]) -> None:
    """Any second has at most the rate and one call, whenever calls arrive."""
    clock = ManualClock()
    limiter = RateLimiter(rate, clock)
    sent = []
    for gap in gaps:
        clock.advance(gap)
        sent.append(clock.now + limiter.reserve())
    for index, at in enumerate(sent):
        assert sum(at <= other < at + 1 - 1e-6 for other in sent[index:]) <= rate + 1


def test_a_single_call_does_not_wait() -> None:
    """The wait of the next call is exact."""
    clock = ManualClock()
    limiter = RateLimiter(2.0, clock)
    assert limiter.reserve() == 0
    assert limiter.wait_s() == 0.5
    clock.advance(0.5)
    assert limiter.reserve() == 0


def test_without_a_limit_no_call_waits() -> None:
    """None sets no limit."""
    limiter = RateLimiter(None, ManualClock())
    assert [limiter.reserve() for _ in range(100)] == [0.0] * 100
    assert limiter.wait_s() == 0


def test_another_rate_applies_to_the_next_call() -> None:
    """A wait that was far too long is shortened at once."""
    clock = ManualClock()
    limiter = RateLimiter(0.01, clock)
    limiter.reserve()
    assert limiter.wait_s() == 100
    limiter.calls_per_s = 10.0
    assert limiter.wait_s() == pytest.approx(0.1)
    limiter.calls_per_s = 0.5
    assert limiter.wait_s() == pytest.approx(2)
