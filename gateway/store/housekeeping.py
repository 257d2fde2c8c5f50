"""What has to be done to a store from time to time, by each gateway that has it open: doing it twice is harmless."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from gateway.store.base import Store, StoreUnavailable
from gateway.telemetry.errors import log_unexpected_error

log = structlog.get_logger(__name__)

ABANDONED_AFTER = timedelta(minutes=2)
"""An attempt under way for so long was cut off by a crash, or is about to be told UNKNOWN: its success resolves it."""

EVERY_S = 60.0
"""Seconds from one round to the next."""

TRIMMED_AT_ONCE = 200
"""Lines of the journal in one transaction: callbacks wait no longer than for these."""


class Housekeeping:
    """Reports attempts that nobody concluded, and takes old bodies out of the journal. Started and stopped once.

    `alone` says that no other process works on this store: then what is under way at the start was cut off for sure.
    So it starts before anything is served.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        *,
        alone: bool,
        keep_bodies: timedelta | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        self._store = store
        self._clock = clock
        self._alone = alone
        self.keep_bodies = keep_bodies
        """May be changed at any time, and holds from the next round on."""
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the first round; it may take its time."""
        self._task = asyncio.get_running_loop().create_task(self._rounds(self._clock()))

    async def stop(self) -> None:
        """Begin nothing more. Harmless when not started."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _rounds(self, started_at: datetime) -> None:
        # What begins from here on is ours, and not cut off: this task may come to run later than the first call.
        begun_before = started_at if self._alone else started_at - ABANDONED_AFTER
        while True:
            await self._try(self._report_abandoned(begun_before))
            await self._try(self._trim())
            await asyncio.sleep(self._every_s)
            begun_before = self._clock() - ABANDONED_AFTER

    async def _try(self, work: Awaitable[None]) -> None:
        try:
            await work
        except StoreUnavailable as error:
            log.warning("housekeeping put off: it is tried again", detail=str(error), seconds=self._every_s)
        except Exception as bug:  # noqa: BLE001 - the rounds go on, and so does the gateway's way down
            log_unexpected_error(bug)

    async def _report_abandoned(self, begun_before: datetime) -> None:
        if found := await self._store.report_abandoned(begun_before, self._clock()):
            log.warning("closes were cut off and nobody knows their outcome: see the reconciliation items", count=found)

    async def _trim(self) -> None:
        if self.keep_bodies is None:
            return
        before = self._clock() - self.keep_bodies
        trimmed = 0
        while count := await self._store.trim_bodies(before, TRIMMED_AT_ONCE):
            trimmed += count
            await asyncio.sleep(0)  # what waits for the store goes first
        if trimmed:
            log.info("journal bodies taken away by age", lines=trimmed, older_than=before.isoformat())
