"""All calls to a provider together have a budget of second attempts, and none comes back at the same moment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import HttpReply
from gateway.outbound.limits import RetryLimits
from gateway.outbound.retry import (
    LONGEST_RETRY_AFTER_S,
    MAX_BALANCE,
    PER_CALL,
    PER_S,
    RetryBudget,
    backoff_s,
    retry_after_s,
)
from tests.gateway.outbound.clocks import Hands


@given(steps=st.lists(st.tuples(st.sampled_from([0.0, 0.001, 0.1, 2.0]), st.integers(0, 30)), max_size=120))
def test_second_attempts_stay_within_the_budget(steps: list[tuple[float, int]]) -> None:
    """Where every call fails and asks for all it can get, at most a fifth of the calls and ten a second are granted."""
    hands = Hands()
    budget = RetryBudget(hands)
    begun, calls, granted = hands.now, 0, 0
    for seconds, number in steps:
        hands.pass_(seconds)
        for _ in range(number):
            calls += 1
            budget.deposit()
            while budget.try_withdraw():
                granted += 1
        assert granted <= PER_CALL * calls + PER_S * max(1.0, hands.now - begun) + 1e-6


def test_a_quiet_hour_is_not_spent_in_a_second() -> None:
    """What is saved up is bounded."""
    hands = Hands()
    budget = RetryBudget(hands)
    hands.pass_(3600)
    assert sum(budget.try_withdraw() for _ in range(100)) == MAX_BALANCE


def test_the_rare_call_is_tried_again() -> None:
    """A gateway that has just begun grants it too, and each second as much as it should."""
    hands = Hands()
    budget = RetryBudget(hands)
    assert sum(budget.try_withdraw() for _ in range(100)) == PER_S
    hands.pass_(2)
    assert sum(budget.try_withdraw() for _ in range(100)) == PER_S
    hands.pass_(1.5)
    assert sum(budget.try_withdraw() for _ in range(100)) == PER_S / 2


def test_what_a_quiet_hour_left_is_not_on_top_of_what_the_seconds_bring() -> None:
    """From the first failure on, each second has its ten, and the first has them once."""
    hands = Hands()
    budget = RetryBudget(hands)
    hands.pass_(3600)
    granted = 0
    for tenth in range(50):
        budget.deposit()
        granted += sum(budget.try_withdraw() for _ in range(100))
        assert granted <= PER_CALL * (tenth + 1) + PER_S * max(1.0, tenth / 10) + 1e-6
        hands.pass_(0.1)
    assert granted >= PER_S * 4


@given(attempts=st.integers(1, 10))
def test_a_backoff_is_any_part_of_a_bound_that_doubles(attempts: int) -> None:
    """It never exceeds the most, and two are not alike."""
    limits = RetryLimits(backoff_s=0.1, max_backoff_s=1.0)
    waits = [backoff_s(limits, attempts) for _ in range(20)]
    assert all(0 <= wait <= min(1.0, 0.1 * 2 ** (attempts - 1)) for wait in waits)
    assert len(set(waits)) > 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((("Retry-After", "7"),), 7.0),
        ((("retry-after", "0"),), 0.0),
        ((("Retry-After", "99999999999999999999"),), LONGEST_RETRY_AFTER_S),
        ((("Retry-After", "-1"),), None),
        ((("Retry-After", "²"),), None),
        ((("Retry-After", "Sat, 21 Nov 2026 13:00:00 GMT"),), None),
        ((), None),
    ],
)
def test_what_a_provider_asks_for_is_heard(headers: tuple[tuple[str, str], ...], seconds: float | None) -> None:
    """Whole seconds are; a date, and what is no number, is not."""
    assert retry_after_s(HttpReply(429, headers)) == seconds
