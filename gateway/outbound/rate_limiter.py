"""How fast a provider may be asked, where its vendor's contract says so."""

import math
from collections.abc import Callable


class RateLimiter:
    """Gives out moments, evenly spread: no second has more of them than the contract allows, and one.

    `clock` is monotonic, in seconds.
    """

    def __init__(self, calls_per_s: float | None, clock: Callable[[], float]) -> None:
        self.calls_per_s = calls_per_s
        self._clock = clock
        self._last = -math.inf
        """The latest moment that was given out. What lies behind it goes by the rate as it is then."""

    def wait_s(self) -> float:
        """Seconds until the next moment that is free."""
        return max(0.0, self._last + 1 / self.calls_per_s - self._clock()) if self.calls_per_s else 0.0

    def take(self) -> float:
        """Take the next moment; seconds until then."""
        if not self.calls_per_s:
            return 0.0
        wait_s = self.wait_s()
        self._last = self._clock() + wait_s
        return wait_s
