"""Places at one provider, and the queue for them: what is slow there takes no more than these from everybody else."""

import asyncio
from collections import deque

from gateway.outbound.deadline import Deadline

_WEIGHT = 0.1
"""Of the newest in the mean: some twenty calls later an old pace is forgotten."""


class BulkheadFull(Exception):
    """There is no place in time. `at_once`: whoever asked was not even let into the queue."""

    def __init__(self, why: str, *, at_once: bool) -> None:
        super().__init__(why)
        self.at_once = at_once


class Bulkhead:
    """At most `places` at a time, at most `queue` waiting for one, in turn."""

    def __init__(self, places: int, queue: int) -> None:
        self._places = places
        self._queue = queue
        self._taken = 0
        self._turns: deque[asyncio.Future[None]] = deque()
        self._mean_s = 0.0
        """For how long a place is held, the latest counting most."""

    @property
    def taken(self) -> int:
        """Places that are held."""
        return self._taken

    @property
    def waiting(self) -> int:
        """Callers in the queue."""
        return len(self._turns)

    def resize(self, places: int, queue: int) -> None:
        """From here on so many. Who holds a place keeps it, and who waits keeps waiting."""
        self._places = places
        self._queue = queue
        self._wake_waiters()

    def try_acquire(self) -> bool:
        """Take a place that is free; none is as long as anybody waits."""
        if self._taken >= self._places:
            return False
        self._taken += 1
        return True

    async def acquire(self, deadline: Deadline) -> None:
        """Take a place, waiting for it until the deadline at the most. Raises NoPlace."""
        if self.try_acquire():
            return
        self._reject_if_hopeless(deadline)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            async with deadline.bound():
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it had come
                self._leave()
            elif turn in self._turns:
                self._turns.remove(turn)
            if isinstance(error, TimeoutError):
                raise BulkheadFull(f"none of its {self._places} places became free in time", at_once=False) from None
            raise

    def release(self, held_s: float | None = None) -> None:
        """Give a place back that was held for so many seconds; None where it served for nothing."""
        if held_s is not None:
            self._mean_s += _WEIGHT * (held_s - self._mean_s)
        self._leave()

    def _reject_if_hopeless(self, deadline: Deadline) -> None:
        """Who would wait longer than he has is told so while he can still do something else."""
        if len(self._turns) >= self._queue:
            raise BulkheadFull(
                f"{self._places} calls are under way there and {len(self._turns)} wait, which are all that may",
                at_once=True,
            )
        expected_s = (len(self._turns) + 1) * self._mean_s / self._places
        if expected_s > deadline.remaining():
            raise BulkheadFull(
                f"{self._places} calls are under way there and {len(self._turns)} wait: it would take "
                f"{expected_s:.1f} s until there is a place, longer than the call has",
                at_once=True,
            )

    def _leave(self) -> None:
        self._taken -= 1
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        while self._turns and self._taken < self._places:
            turn = self._turns.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
