"""Periodic maintenance of a store, by each gateway that has it open: doing it twice is harmless."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from gateway.store.base import Store, StoreUnavailable
from gateway.telemetry.errors import log_unexpected_error

log = structlog.get_logger(__name__)

ABANDONED_AFTER = timedelta(minutes=2)
"""An attempt in progress for longer was cut off by a crash, or ends UNKNOWN soon; a success resolves its item."""

INTERVAL_S = 60.0
"""Seconds from one round to the next."""

TRIM_BATCH_SIZE = 200
"""Lines of the journal in one transaction: callbacks wait no longer than for these."""


class Housekeeping:
    """Reports attempts that were never concluded, and removes old bodies from the journal. Started and stopped once.

    With `alone` no other process uses this store: every attempt in progress at the start was cut off. Start it before
    the gateway serves anything.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        *,
        alone: bool,
        keep_bodies: timedelta | None = None,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._store = store
        self._clock = clock
        self._alone = alone
        self.keep_bodies = keep_bodies
        """May be changed at any time, for the next round."""
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the first round, and do not wait for it."""
        self._task = asyncio.get_running_loop().create_task(self._rounds(self._clock()))

    async def stop(self) -> None:
        """Stop. Harmless when not started."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _rounds(self, started_at: datetime) -> None:
        # What begins after the start is ours, and not cut off: this task may run later than the first call.
        since = started_at if self._alone else None
        while True:
            await self._try(self._report_abandoned(since))
            await self._try(self._trim())
            await asyncio.sleep(self._interval_s)
            since = None

    async def _try(self, work: Awaitable[None]) -> None:
        try:
            await work
        except StoreUnavailable as error:
            log.warning("housekeeping failed, will retry", error=str(error), retry_in_ms=round(self._interval_s * 1000))
        except Exception as bug:  # noqa: BLE001 - the next round runs anyway
            log_unexpected_error(bug)

    async def _report_abandoned(self, since: datetime | None) -> None:
        now = self._clock()
        if found := await self._store.report_abandoned(ABANDONED_AFTER if since is None else now - since, now):
            log.warning("closes were cut off, their outcome is unknown: see the reconciliation items", count=found)

    async def _trim(self) -> None:
        if self.keep_bodies is None:
            return
        before = self._clock() - self.keep_bodies
        trimmed = 0
        while count := await self._store.trim_bodies(before, TRIM_BATCH_SIZE):
            trimmed += count
            await asyncio.sleep(0)  # other users of the store go first
        if trimmed:
            log.info("journal bodies trimmed", lines=trimmed, older_than=before.isoformat())
