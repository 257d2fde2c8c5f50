"""Limits the concurrent requests to one provider, so that a slow provider does not use up the gateway."""

import asyncio
from collections import deque

from gateway.outbound.deadline import Deadline

_WEIGHT = 0.1
"""Weight of the newest value in the moving average: after some twenty requests an old duration hardly counts."""


class BulkheadFull(Exception):
    """No place became free in time, or none can be expected to."""


class Bulkhead:
    """Allows at most `max_concurrent` requests at a time; at most `max_queued` wait, in order of arrival."""

    def __init__(self, max_concurrent: int, max_queued: int) -> None:
        self._max_concurrent = max_concurrent
        self._max_queued = max_queued
        self._in_flight = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._mean_s = 0.0
        """Moving average of how long a place is held."""

    @property
    def in_flight(self) -> int:
        """Places that are held."""
        return self._in_flight

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return len(self._waiters)

    def resize(self, max_concurrent: int, max_queued: int) -> None:
        """Use these limits from now on. Places that are held stay held, and requests that wait go on waiting."""
        self._max_concurrent = max_concurrent
        self._max_queued = max_queued
        self._wake_waiters()

    def try_acquire(self) -> bool:
        """Take a free place. None is free while a request waits."""
        if self._in_flight >= self._max_concurrent:
            return False
        self._in_flight += 1
        return True

    async def acquire(self, deadline: Deadline) -> None:
        """Take a place, and wait for it until the deadline. Raises BulkheadFull."""
        if self.try_acquire():
            return
        self._reject_if_hopeless(deadline)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with deadline.bound():
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():  # it has got the place, and passes it on
                self.release()
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                raise BulkheadFull(f"none of its {self._max_concurrent} places became free in time") from None
            raise

    def release(self, held_s: float | None = None) -> None:
        """Release a place that was held that long; None where no request was made."""
        if held_s is not None:
            self._mean_s += _WEIGHT * (held_s - self._mean_s)
        self._in_flight -= 1
        self._wake_waiters()

    def _reject_if_hopeless(self, deadline: Deadline) -> None:
        """Raise BulkheadFull at once where the wait would be too long: the caller can still do something else."""
        busy = f"{self._max_concurrent} calls are in flight there and {len(self._waiters)} are queued"
        if len(self._waiters) >= self._max_queued:
            raise BulkheadFull(f"{busy}, which is its limit")
        expected_s = (len(self._waiters) + 1) * self._mean_s / self._max_concurrent
        if expected_s > deadline.remaining():
            raise BulkheadFull(f"{busy}: a place is expected in {expected_s:.1f} s, which is after the call's deadline")

    def _wake_waiters(self) -> None:
        while self._waiters and self._in_flight < self._max_concurrent:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._in_flight += 1
                waiter.set_result(None)
