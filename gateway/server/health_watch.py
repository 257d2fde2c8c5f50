"""Readiness, the store and open items for /metrics. Read in the background, so that a scrape waits for nothing."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from gateway.config import StoreSettings
from gateway.store.base import Store, StoreUnavailable
from gateway.store.factory import store_location
from gateway.store.reconciliation import OpenItemCount, ReconciliationKind
from gateway.telemetry.errors import log_unexpected_error
from gateway.telemetry.health import Health, OpenItems

INTERVAL_S = 15.0
"""Seconds from one round to the next, a common scrape interval. One query of the store each."""

TIME_LIMIT_S = 10.0
"""Seconds for a round: a store that takes longer is not available."""


class HealthWatch:
    """Checks a gateway's health in rounds, and has the last result ready.

    While the store does not answer, the open items stay those that it last had, and grow older: they are not resolved
    because nobody can read them. `file` is the SQLite database. Started and stopped once.
    """

    def __init__(
        self,
        store: Store,
        readiness_problems: Callable[[], Awaitable[tuple[str, ...]]],
        clock: Callable[[], datetime],
        file: Path | None,
        providers: Callable[[], Iterable[str]],
        *,
        interval_s: float = INTERVAL_S,
        time_limit_s: float = TIME_LIMIT_S,
    ) -> None:
        self._store = store
        self._readiness_problems = readiness_problems
        self._clock = clock
        self._file = file
        self._providers = providers
        self._interval_s = interval_s
        self._time_limit_s = time_limit_s
        self._ready = False
        self._store_available = False
        self._counts: Sequence[OpenItemCount] | None = None
        self._disk: tuple[int, int] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Finish a first round, and continue in the background."""
        await self.check()
        self._task = asyncio.create_task(self._rounds())

    async def stop(self) -> None:
        """Stop; what is exported from now on is: not ready. Harmless when not started."""
        self._ready = False
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def health(self) -> Health:
        """The result of the last round."""
        return Health(self._ready, self._store_available, self._open_items(), self._disk)

    async def check(self) -> None:
        """Make one round."""
        self._store_available = await self._within_limit(self._read_store())
        self._ready = await self._within_limit(self._is_ready())
        if self._file is not None:
            self._disk = await asyncio.to_thread(_disk_of, self._file)

    async def _rounds(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.check()

    async def _within_limit(self, answer: Awaitable[bool]) -> bool:
        """The answer; False where there is none in time."""
        try:
            async with asyncio.timeout(self._time_limit_s):
                return await answer
        except (StoreUnavailable, TimeoutError):
            return False
        except Exception as bug:  # noqa: BLE001 - the next round is made all the same
            log_unexpected_error(bug)
            return False

    async def _read_store(self) -> bool:
        self._counts = await self._store.open_item_counts()
        await self._store.ping()
        return True

    async def _is_ready(self) -> bool:
        return not await self._readiness_problems()

    def _open_items(self) -> tuple[OpenItems, ...]:
        """Those of all providers and kinds; none at all where the store was never read."""
        if self._counts is None:
            return ()
        now = self._clock()
        found = {(provider, kind.value): (0, 0.0) for provider in self._providers() for kind in ReconciliationKind}
        for each in self._counts:
            found[each.provider, each.kind] = each.count, max(0.0, (now - each.oldest_at).total_seconds())
        return tuple(OpenItems(provider, kind, count, age_s) for (provider, kind), (count, age_s) in found.items())


def store_file(settings: StoreSettings) -> Path | None:
    """The database's file, where the store is one."""
    return Path(store_location(settings.url.reveal())) if settings.is_sqlite else None


def _disk_of(file: Path) -> tuple[int, int] | None:
    try:
        status = os.statvfs(file.absolute().parent)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
