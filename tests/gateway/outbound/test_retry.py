"""All calls to a provider share a retry budget, and their delays are random."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import HttpReply
from gateway.outbound.limits import RetryLimits
from gateway.outbound.retry import (
    MAX_BALANCE,
    MAX_RETRY_AFTER_S,
    RETRIES_PER_CALL,
    RETRIES_PER_S,
    RetryBudget,
    backoff_s,
    retry_after_s,
)
from tests.gateway.outbound.harness import ManualClock


@given(steps=st.lists(st.tuples(st.sampled_from([0.0, 0.001, 0.1, 2.0]), st.integers(0, 30)), max_size=120))
def test_retries_stay_within_the_budget(steps: list[tuple[float, int]]) -> None:
    """Where every call fails, at most a fifth of the calls and ten a second are retried."""
    clock = ManualClock()
    budget = RetryBudget(clock)
    begun, calls, granted = clock.now, 0, 0
    for seconds, number in steps:
        clock.advance(seconds)
        for _ in range(number):
            calls += 1
            budget.deposit()
            while budget.try_withdraw():
                granted += 1
        assert granted <= RETRIES_PER_CALL * calls + RETRIES_PER_S * max(1.0, clock.now - begun) + 1e-6


def test_the_balance_is_limited() -> None:
    """An hour without failures does not allow a burst."""
    clock = ManualClock()
    budget = RetryBudget(clock)
    clock.advance(3600)
    assert sum(budget.try_withdraw() for _ in range(100)) == MAX_BALANCE


def test_rare_calls_are_retried() -> None:
    """The budget is full at the start, and each second adds its share."""
    clock = ManualClock()
    budget = RetryBudget(clock)
    assert sum(budget.try_withdraw() for _ in range(100)) == RETRIES_PER_S
    clock.advance(2)
    assert sum(budget.try_withdraw() for _ in range(100)) == RETRIES_PER_S
    clock.advance(1.5)
    assert sum(budget.try_withdraw() for _ in range(100)) == RETRIES_PER_S / 2


def test_a_full_balance_is_not_in_addition_to_the_first_second() -> None:
    """From the first failure on, each second allows ten retries, also the first one."""
    clock = ManualClock()
    budget = RetryBudget(clock)
    clock.advance(3600)
    granted = 0
    for tenth in range(50):
        budget.deposit()
        granted += sum(budget.try_withdraw() for _ in range(100))
        assert granted <= RETRIES_PER_CALL * (tenth + 1) + RETRIES_PER_S * max(1.0, tenth / 10) + 1e-6
        clock.advance(0.1)
    assert granted >= RETRIES_PER_S * 4


@given(attempts=st.integers(1, 10))
def test_backoff_is_a_random_part_of_a_doubling_limit(attempts: int) -> None:
    """It never exceeds `max_backoff_s`, and differs from call to call."""
    limits = RetryLimits(backoff_s=0.1, max_backoff_s=1.0)
    waits = [backoff_s(limits, attempts) for _ in range(20)]
    assert all(0 <= wait <= min(1.0, 0.1 * 2 ** (attempts - 1)) for wait in waits)
    assert len(set(waits)) > 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((("Retry-After", "7"),), 7.0),
        ((("retry-after", "0"),), 0.0),
        ((("Retry-After", "99999999999999999999"),), MAX_RETRY_AFTER_S),
        ((("Retry-After", "-1"),), None),
        ((("Retry-After", "²"),), None),
        ((("Retry-After", "Sat, 21 Nov 2026 13:00:00 GMT"),), None),
        ((), None),
    ],
)
def test_retry_after(headers: tuple[tuple[str, str], ...], seconds: float | None) -> None:
    """Whole seconds are accepted; a date and what is not a number are ignored."""
    assert retry_after_s(HttpReply(429, headers)) == seconds
