"""Whether and when a provider is asked once more.

When a provider fails altogether, every call would be tried again, and what it needs to get well is the contrary. So all
calls together have a budget: from when a provider begins to fail its attempts are at most 1.2 for each call, and ten
for each second.
"""

import random
from collections.abc import Callable

from adapters.contract import HttpReply
from gateway.outbound.limits import RetryLimits

PER_CALL = 0.2
"""Second attempts that each call earns."""
PER_S = 10.0
"""Second attempts that each second brings, so that also the rare call is tried again."""
MAX_BALANCE = 10.0
"""Attempts that are saved up at the most: what a quiet hour earned is not all spent in a bad second."""


class RetryBudget:
    """Earns and spends. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left = MAX_BALANCE
        self._counted_at = clock()

    def deposit(self) -> None:
        """A call is tried for the first time."""
        self._earn(PER_CALL)

    def try_withdraw(self) -> bool:
        """Whether one more attempt may be made; it counts as made then."""
        now = self._clock()
        if now > self._counted_at:
            self._earn((now - self._counted_at) * PER_S)
            self._counted_at = now
        if self._left < 1:
            return False
        if (
            self._left >= MAX_BALANCE
        ):  # what was saved up in a quiet time is what this second brings, and not on top of it
            self._counted_at = now + MAX_BALANCE / PER_S
        self._left -= 1
        return True

    def _earn(self, attempts: float) -> None:
        self._left = min(MAX_BALANCE, self._left + attempts)


def backoff_s(limits: RetryLimits, attempts: int) -> float:
    """Seconds to wait after so many attempts of a call: any part of a bound that doubles, so that those who failed
    together do not come back together.
    """
    most = min(limits.max_backoff_s, limits.backoff_s * 2 ** (attempts - 1))
    return random.uniform(0, most)  # noqa: S311 - nobody gains by guessing it


LONGEST_RETRY_AFTER_S = 3600.0
"""Seconds: whoever asks for more is not believed."""


def retry_after_s(reply: HttpReply) -> float | None:
    """Seconds that the provider asks to be left alone for (RFC 9110, Retry-After); None where it asks for nothing, or
    by a date, which its clock and ours may read differently.
    """
    for name, value in reply.headers:
        if name.lower() == "retry-after" and value.isascii() and value.isdigit():
            return min(LONGEST_RETRY_AFTER_S, float(value[:9]))
    return None
