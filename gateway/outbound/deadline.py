"""A time by which an answer is needed. It can move while waits depend on it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

Moved = Callable[[float], None]
"""Called with a deadline's new time on the running loop's clock."""


class Deadline:
    """A time on the running loop's clock, in seconds.

    Several callers may share one call to a provider, each with its own deadline. The call lives until the latest of
    them, so a deadline can be extended, also for waits in progress. A gateway that stops moves it earlier.
    """

    __slots__ = ("_at", "_cap", "_watchers")

    def __init__(self, at: float) -> None:
        """`at` is a time of the running loop, as `loop.time()` returns it."""
        self._at = at
        self._cap = float("inf")
        self._watchers: set[Moved] = set()

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The deadline that many seconds from now."""
        return cls(asyncio.get_running_loop().time() + seconds)

    @property
    def at(self) -> float:
        """The time on the loop's clock."""
        return self._at

    @property
    def watchers(self) -> int:
        """How many waits in progress follow the deadline."""
        return len(self._watchers)

    def remaining(self) -> float:
        """Seconds left; 0 once it has passed."""
        return max(0.0, self._at - asyncio.get_running_loop().time())

    def extend(self, at: float) -> None:
        """Move the deadline to `at` if that is later. A wait that has expired stays expired."""
        self.move(max(self._at, at))

    def cap(self, at: float) -> None:
        """Limit the deadline to `at` from now on."""
        self._cap = min(self._cap, at)
        self.move(self._at)

    def move(self, at: float) -> None:
        """Move the deadline to `at`, or to its cap if that is earlier."""
        at = min(at, self._cap)
        if at == self._at:
            return
        self._at = at
        for moved in self._watchers:
            moved(at)

    def watch(self, moved: Moved) -> None:
        """Call `moved` each time the deadline moves. Cheaper than `bound` where the wait has its own timer."""
        self._watchers.add(moved)

    def unwatch(self, moved: Moved) -> None:
        """Stop calling `moved`."""
        self._watchers.discard(moved)

    @contextmanager
    def part(self, seconds: float | None) -> Iterator["Deadline"]:
        """A deadline for a part of the work: it follows this one, and is at most that many seconds from now."""
        if seconds is None:
            yield self
            return
        part = Deadline(self._at)
        part.cap(asyncio.get_running_loop().time() + seconds)
        self.watch(part.move)
        try:
            yield part
        finally:
            self.unwatch(part.move)

    @contextmanager
    def call_when_passed(self, callback: Callable[[], object]) -> Iterator[None]:
        """Call `callback` if the deadline passes before the body ends. The body is not interrupted."""
        loop = asyncio.get_running_loop()
        timer = loop.call_at(self._at, callback)

        def moved(at: float) -> None:
            nonlocal timer
            timer.cancel()
            timer = loop.call_at(at, callback)

        self.watch(moved)
        try:
            yield
        finally:
            timer.cancel()
            self.unwatch(moved)

    async def sleep(self, seconds: float) -> None:
        """Sleep that long, or until the deadline passes."""
        with suppress(TimeoutError):
            async with self.bound():
                await asyncio.sleep(seconds)

    @asynccontextmanager
    async def bound(self) -> AsyncIterator[None]:
        """Cancel the body with TimeoutError when the deadline passes, wherever it has moved to."""
        async with asyncio.timeout_at(self._at) as timeout:

            def moved(at: float) -> None:
                if not timeout.expired():
                    timeout.reschedule(at)

            self.watch(moved)
            try:
                yield
            finally:
                self.unwatch(moved)
