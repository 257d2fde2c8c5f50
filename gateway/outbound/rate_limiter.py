"""Limits the calls to a provider per second, where the vendor's contract does."""

import math
from collections.abc import Callable


class RateLimiter:
    """Spreads calls evenly: any second has at most `calls_per_s` calls and one more. None sets no limit.

    `clock` is monotonic, in seconds.
    """

    def __init__(self, calls_per_s: float | None, clock: Callable[[], float]) -> None:
        self.calls_per_s = calls_per_s
        self._clock = clock
        self._last = -math.inf
        """The time of the latest reserved call."""

    def wait_s(self) -> float:
        """Seconds until the next call is possible."""
        return max(0.0, self._last + 1 / self.calls_per_s - self._clock()) if self.calls_per_s else 0.0

    def reserve(self) -> float:
        """Reserve the next call, and return the seconds until then."""
        if not self.calls_per_s:
            return 0.0
        wait_s = self.wait_s()
        self._last = self._clock() + wait_s
        return wait_s
