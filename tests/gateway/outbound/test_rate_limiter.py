"""A vendor's contract on how often it may be asked is kept, and nobody waits longer than it takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outbound.rate_limiter import RateLimiter
from tests.gateway.outbound.clocks import Hands


@given(
    rate=st.sampled_from([0.5, 1.0, 3.0, 20.0]),
    gaps=st.lists(st.sampled_from([0.0, 0.01, 0.3, 1.0, 7.0]), min_size=1, max_size=80),
)
def test_no_second_has_more_than_the_contract_allows(rate: float, gaps: list[float]) -> None:
    """Whenever calls come, any second sees at most the rate and one call."""
    hands = Hands()
    pace = RateLimiter(rate, hands)
    sent = []
    for gap in gaps:
        hands.pass_(gap)
        sent.append(hands.now + pace.take())
    for index, at in enumerate(sent):
        assert sum(at <= other < at + 1 - 1e-6 for other in sent[index:]) <= rate + 1


def test_who_comes_alone_does_not_wait() -> None:
    """A free moment is taken at once, and the next is told exactly."""
    hands = Hands()
    pace = RateLimiter(2.0, hands)
    assert pace.take() == 0
    assert pace.wait_s() == 0.5
    hands.pass_(0.5)
    assert pace.take() == 0


def test_without_a_contract_nobody_waits() -> None:
    """None bounds nothing."""
    pace = RateLimiter(None, Hands())
    assert [pace.take() for _ in range(100)] == [0.0] * 100
    assert pace.wait_s() == 0


def test_another_rate_holds_from_the_next_moment_on() -> None:
    """Who had set it a thousand times too low does not wait for what it would have come to."""
    hands = Hands()
    pace = RateLimiter(0.01, hands)
    pace.take()
    assert pace.wait_s() == 100
    pace.calls_per_s = 10.0
    assert pace.wait_s() == pytest.approx(0.1)
    pace.calls_per_s = 0.5
    assert pace.wait_s() == pytest.approx(2)
