"""Positions for committed events: their one order, the same for every subscriber of every gateway.

Transactions commit in another order than they begin in, so no number that is taken inside them can be their order: a
subscriber that remembers the highest would miss a lower one that commits later. An event is inserted without a
position, and gets one once it is committed.

Every gateway has a sequencer, and any of them numbers the events of all. The row of table `sequencer` is the lease: the
one that locks it numbers, and releases it with its commit, so that positions become visible in their order and without
a gap. Taking the lease, numbering and committing are one statement that the server executes: a gateway that freezes or
dies at any time holds nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import asyncpg
import structlog

from gateway.store.base import StoreUnavailable
from gateway.store.commit_notifier import CommitNotifier
from gateway.store.postgres.connection import Connection, close, is_outage
from gateway.telemetry.errors import log_unexpected_error

log = structlog.get_logger(__name__)

CHANNEL = "gateway_events"
"""On which a sequencer notifies the others of new positions."""

POLL_INTERVAL_S = 1.0
"""Seconds after which a sequencer runs a round without a notification: the notifying process may be dead."""

MIN_ROUND_INTERVAL_S = 0.015
"""Seconds between two rounds: what commits meanwhile is numbered together, in one transaction."""

MAX_EVENTS_PER_ROUND = 1000
"""Events in one round: bounds how long it holds the lease."""

ROUND_TIMEOUT_S = 5.0
"""Seconds that a round may take: then the connection is dropped."""

MIN_BACKOFF_S, MAX_BACKOFF_S = 0.05, 2.0
"""Seconds between two attempts: after the first failure, and at most."""

LATE_AFTER_S = 5.0
"""Seconds without a successful round, after which a warning is logged."""

REMINDER_INTERVAL_S = 60.0
"""Seconds between two warnings."""

STOP_TIMEOUT_S = 1.0
"""Seconds for the last round when the gateway stops."""

_PROGRESS = """
SELECT
    (SELECT position FROM events WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1) AS newest,
    pg_snapshot_xmin(pg_current_snapshot())::text AS oldest_in_progress,
    (
        SELECT kept_by FROM events WHERE position IS NULL AND kept_by >= $1::text::xid8
        ORDER BY kept_by, arrival LIMIT 1
    )::text AS oldest_waiting,
    current_setting('transaction_read_only') = 'on' AS read_only
"""

_NUMBER = f"""
DO $$
DECLARE
    lease record;
    newest bigint;
BEGIN
    SELECT INTO STRICT lease FROM sequencer FOR UPDATE;
    SELECT coalesce(max(position), 0) INTO newest FROM events;
    UPDATE events SET position = newest + number FROM (
        SELECT id, row_number() OVER (ORDER BY kept_by, arrival) AS number FROM (
            SELECT id, kept_by, arrival FROM events WHERE position IS NULL AND kept_by >= '%d'
            ORDER BY kept_by, arrival LIMIT {MAX_EVENTS_PER_ROUND}
        ) AS oldest
    ) AS ordered WHERE events.id = ordered.id;
    IF FOUND THEN
        NOTIFY {CHANNEL};
    END IF;
END
$$
"""  # noqa: S608 - constants only
"""A separate statement after the lease selects the waiting events: it sees what the previous holder numbered."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far events are numbered: the newest position, and a transaction before which all events have positions.

    All transactions before it have ended.
    """

    position: int
    settled_before: int
    waiting: bool


NO_PROGRESS = Progress(position=0, settled_before=0, waiting=False)


class Sequencer:
    """Numbers committed events, and notifies `commits` of every new position, whichever gateway gave it.

    `connect` makes a connection for the sequencer alone, and raises StoreUnavailable. Its transactions are READ
    COMMITTED and synchronous: no crash takes back a position that was read. Its lock_timeout and statement_timeout
    bound the wait for the lease, and its duration. Belongs to the event loop.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], commits: CommitNotifier) -> None:
        self._connect = connect
        self._commits = commits
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._seen = NO_PROGRESS
        self._db: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and begin to number. Raises what `connect` raises, and errors of asyncpg."""
        db = await self._connected()
        try:
            async with asyncio.timeout(ROUND_TIMEOUT_S):
                self._seen = await read_progress(db, NO_PROGRESS)
        except BaseException:
            self._disconnect()
            raise
        self._woken.set()
        self._task = asyncio.create_task(self._run(), name="sequencer")

    def notify(self) -> None:
        """Events were committed by this process."""
        self._woken.set()

    async def stop(self) -> None:
        """Number what is committed by now, where the server answers soon, and disconnect."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._stopping.set()
        self._woken.set()
        await asyncio.wait({task}, timeout=STOP_TIMEOUT_S)
        task.cancel()
        await asyncio.wait({task})

    async def _run(self) -> None:
        """Run rounds until it is stopped. After a failure, connect again."""
        failures = FailureReporter()
        last = False
        try:
            while not last:
                last = self._stopping.is_set()
                try:
                    await self._round(self._db or await self._connected())
                except Exception as error:  # noqa: BLE001 - without positions no subscriber of this gateway gets events
                    self._disconnect()
                    await _wait(self._stopping, failures.failed(error))
                else:
                    failures.succeeded()
                    await self._pause()
            if self._db is not None:
                await close(self._db)
        finally:
            self._disconnect()

    async def _connected(self) -> Connection:
        self._db = db = await self._connect()
        # It may be another server, which has other transaction ids.
        self._seen = replace(self._seen, settled_before=0)
        try:
            async with asyncio.timeout(ROUND_TIMEOUT_S):
                await db.add_listener(CHANNEL, self._on_notification)
                db.add_termination_listener(self._on_notification)
        except BaseException:
            self._disconnect()
            raise
        return db

    def _disconnect(self) -> None:
        """Drop the connection without waiting for the server, which may not answer."""
        if self._db is not None:
            self._db.terminate()
            self._db = None

    def _on_notification(self, *_: object) -> None:
        """A sequencer, maybe this one, gave positions, so that more events may wait; or the connection is lost."""
        self._woken.set()

    async def _round(self, db: Connection) -> None:
        """Number what waits, and wake subscribers where there are new positions, whichever gateway gave them.

        Positions are read, and not taken from notifications: those are lost with a connection.
        """
        self._woken.clear()
        before = self._seen
        async with asyncio.timeout(ROUND_TIMEOUT_S):
            seen = await read_progress(db, before)
            if seen.waiting:
                await db.execute(_NUMBER % seen.settled_before)
                seen = await read_progress(db, seen)
        self._seen = seen
        if seen.position < before.position:
            log.error(
                "the database has lost events: was it restored to an earlier time, or did a standby without them take "
                "over? Compare the Results since then with the providers' reports",
                newest_position=seen.position,
                newest_position_before=before.position,
            )
        if seen.position != before.position:
            self._commits.add()

    async def _pause(self) -> None:
        """Wait until there may be something to do, and for MIN_ROUND_INTERVAL_S at least."""
        await _wait(self._stopping, MIN_ROUND_INTERVAL_S)
        if not self._stopping.is_set():
            await _wait(self._woken, POLL_INTERVAL_S)


class FailureReporter:
    """Failures to number events: the backoff before the next attempt, and the warnings."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._failures = 0
        self._since = self._clock()
        self._reported_at: float | None = None

    def failed(self, error: Exception) -> float:
        """Record a failure, and return the seconds to wait."""
        if not isinstance(error, StoreUnavailable) and not is_outage(error):
            log_unexpected_error(error)
        late = self._clock() - self._since
        if late >= LATE_AFTER_S and (
            self._reported_at is None or self._clock() - self._reported_at >= REMINDER_INTERVAL_S
        ):
            self._reported_at = self._clock()
            log.warning(
                "events are not numbered: subscribers see none that are newer",
                duration_ms=round(late * 1000),
                error=str(error) or type(error).__name__,
                advice=_advice(error),
            )
        self._failures += 1
        return min(MAX_BACKOFF_S, MIN_BACKOFF_S * 2.0 ** min(self._failures - 1, 10))

    def succeeded(self) -> None:
        """Record a successful round."""
        self._failures = 0
        self._since = self._clock()
        if self._reported_at is not None:
            self._reported_at = None
            log.info("event sequencer recovered")


def _advice(error: Exception) -> str:
    if isinstance(error, asyncpg.LockNotAvailableError | asyncpg.QueryCanceledError):
        return (
            "a session holds the row of table sequencer: find it in pg_locks and pg_stat_activity, and end it with "
            "pg_terminate_backend; the sequencer retries until then"
        )
    return "see that PostgreSQL runs and accepts writes; the sequencer retries until then"


async def read_progress(db: Connection, before: Progress) -> Progress:
    """Read the progress, from where the last one ended. Raises errors of asyncpg."""
    (row,) = await db.fetch(_PROGRESS, str(before.settled_before))
    if row["read_only"]:  # it would answer, and see no event of the server that took over
        raise asyncpg.ReadOnlySQLTransactionError("the server became read-only")
    in_progress, waiting = int(row["oldest_in_progress"]), row["oldest_waiting"]
    settled_before = in_progress if waiting is None else min(in_progress, int(waiting))
    return Progress(row["newest"] or 0, settled_before, waiting is not None)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for the event, at most `timeout_s`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
