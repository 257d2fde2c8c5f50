"""Whether and when a call is retried.

When a provider fails completely, retries of every call would keep it from recovering. So all calls together have a
budget: a failing provider receives at most 1.2 attempts for each call, and ten more a second.
"""

import random
from collections.abc import Callable

from adapters.contract import HttpReply
from gateway.outbound.limits import RetryLimits

RETRIES_PER_CALL = 0.2
"""Retries that each call adds to the budget."""
RETRIES_PER_S = 10.0
"""Retries that each second adds, so that rare calls are retried too."""
MAX_BALANCE = 10.0
"""Retries that the budget holds at most: an hour without failures must not allow a burst."""


class RetryBudget:
    """The retries that are left. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._balance = MAX_BALANCE
        self._updated_at = clock()

    def deposit(self) -> None:
        """Add a call's share, at its first attempt."""
        self._add(RETRIES_PER_CALL)

    def try_withdraw(self) -> bool:
        """Whether a retry may be made; it is taken from the budget then."""
        now = self._clock()
        if now > self._updated_at:
            self._add((now - self._updated_at) * RETRIES_PER_S)
            self._updated_at = now
        if self._balance < 1:
            return False
        if self._balance >= MAX_BALANCE:  # a full balance counts as this second's share, not as an addition to it
            self._updated_at = now + MAX_BALANCE / RETRIES_PER_S
        self._balance -= 1
        return True

    def _add(self, retries: float) -> None:
        self._balance = min(MAX_BALANCE, self._balance + retries)


def backoff_s(limits: RetryLimits, attempts: int) -> float:
    """Seconds to wait after that many attempts of a call: exponential backoff with full jitter, so that calls that
    failed together are not retried together.
    """
    upper = min(limits.max_backoff_s, limits.backoff_s * 2 ** (attempts - 1))
    return random.uniform(0, upper)  # noqa: S311 - it is no secret


MAX_RETRY_AFTER_S = 3600.0
"""Seconds; a longer Retry-After is shortened to it."""


def retry_after_s(reply: HttpReply) -> float | None:
    """The provider's Retry-After in seconds (RFC 9110). None where it has none, or a date: clocks may differ."""
    for name, value in reply.headers:
        if name.lower() == "retry-after" and value.isascii() and value.isdigit():
            return min(MAX_RETRY_AFTER_S, float(value[:9]))
    return None
