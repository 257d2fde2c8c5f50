"""A moment by which an answer must be there, which may move later while it is waited for."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Protocol


class Wait(Protocol):
    """A wait that ends with a deadline. It sets its own timer, for `asyncio.timeout_at` costs more than one."""

    def expired(self) -> bool:
        """Whether it is over, so that nothing is to be moved any more."""

    def reschedule(self, when: float) -> None:
        """End at `when`, a time of the running loop, instead of what was said before."""


class Deadline:
    """A moment on the running loop's clock, in seconds.

    Several callers may share one call to a provider, each under a deadline of its own: the call lives until the latest
    of them, so a deadline can be moved later, also for waits under way. What moves it earlier is a gateway that stops.
    """

    __slots__ = ("_at", "_cap", "_waits")

    def __init__(self, at: float) -> None:
        """`at` is a time of the running loop, as `loop.time()` gives it."""
        self._at = at
        self._cap = float("inf")
        self._waits: set[Wait] = set()

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The deadline that many seconds from now."""
        return cls(asyncio.get_running_loop().time() + seconds)

    @property
    def at(self) -> float:
        """The moment on the loop's clock."""
        return self._at

    def remaining(self) -> float:
        """Seconds left; 0 once it has passed."""
        return max(0.0, self._at - asyncio.get_running_loop().time())

    def extend(self, at: float) -> None:
        """Move the deadline to `at` where that is later. A wait that has expired stays expired."""
        self.move(max(self._at, at))

    def cap(self, at: float) -> None:
        """Let the deadline be no later than `at`, from here on."""
        self._cap = min(self._cap, at)
        self.move(self._at)

    def move(self, at: float) -> None:
        """Move the deadline to `at`, or to where it is capped."""
        at = min(at, self._cap)
        if at == self._at:
            return
        self._at = at
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(at)

    def watch(self, wait: Wait) -> None:
        """Tell `wait` from now on when the deadline moves; its first time is `at`."""
        self._waits.add(wait)

    def unwatch(self, wait: Wait) -> None:
        """The wait is over."""
        self._waits.discard(wait)

    @contextmanager
    def part(self, seconds: float | None) -> Iterator["Deadline"]:
        """While the body of this `with` runs, a deadline of its own for a part of the work: this one, and no later than
        that many seconds from now.
        """
        if seconds is None:
            yield self
            return
        part = Deadline(self._at)
        part.cap(asyncio.get_running_loop().time() + seconds)
        follower = _Follower(part)
        self.watch(follower)
        try:
            yield part
        finally:
            self.unwatch(follower)

    async def sleep(self, seconds: float) -> None:
        """Wait that long, or until the deadline passes."""
        with suppress(TimeoutError):
            async with self.bound():
                await asyncio.sleep(seconds)

    @asynccontextmanager
    async def bound(self) -> AsyncIterator[None]:
        """Cut the body of this `async with` when the deadline passes, with TimeoutError; follows `extend`."""
        async with asyncio.timeout_at(self._at) as wait:
            self.watch(wait)
            try:
                yield
            finally:
                self.unwatch(wait)


class _Follower:
    """Moves one deadline with another."""

    def __init__(self, part: Deadline) -> None:
        self._part = part

    def expired(self) -> bool:
        """Never: to move it once more does no harm."""
        return False

    def reschedule(self, when: float) -> None:
        """The whole's deadline is `when` now; the part's own bound stays."""
        self._part.move(when)
