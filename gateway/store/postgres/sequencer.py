"""Positions for committed events: their one order, the same for every subscriber of every gateway.

Transactions commit in another order than they began in, so no number that is taken inside them can be their order: a
subscriber that remembers the highest would miss a lower one that commits later. An event is kept without a position,
and numbered once it is committed.

Every gateway has a sequencer, and any of them numbers the events of all. The row of table `sequencer` is the lease:
whoever locks it numbers, and lets go of it with its commit, so that positions become visible in their order and
without a gap. Taking the lease, numbering and committing are one statement, carried out by the server: a gateway that
freezes or dies at any moment holds nothing.
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
"""Where a sequencer tells the others that it gave positions."""

POLL_S = 1.0
"""Seconds after which a sequencer looks though nobody woke it: whoever would have done it may be dead."""

PACE_S = 0.015
"""Seconds between two rounds: what commits meanwhile is numbered at once, in one transaction."""

MOST_AT_ONCE = 1000
"""Events in one round: bounds how long it holds the lease."""

ROUND_S = 5.0
"""Seconds that a round may take: a server that does not answer at all is left then."""

BACKOFF_S = (0.05, 2.0)
"""Seconds between two attempts, after the first failure and at the most."""

LATE_S = 5.0
"""Seconds without a round, after which a person is told."""

REMINDER_S = 60.0
"""Seconds after which he is told again."""

STOP_S = 1.0
"""Seconds for the last round, when the gateway stops."""

_LOOK = """
SELECT
    (SELECT position FROM events WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1) AS newest,
    pg_snapshot_xmin(pg_current_snapshot())::text AS oldest_under_way,
    (
        SELECT kept_by FROM events WHERE position IS NULL AND kept_by >= $1::text::xid8
        ORDER BY kept_by, arrival LIMIT 1
    )::text AS oldest_waiting
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
            ORDER BY kept_by, arrival LIMIT {MOST_AT_ONCE}
        ) AS oldest
    ) AS ordered WHERE events.id = ordered.id;
    IF FOUND THEN
        NOTIFY {CHANNEL};
    END IF;
END
$$
"""  # noqa: S608 - constants only
"""What waits is looked for by a statement of its own, after the lease: what the holder before has numbered is seen."""


@dataclass(frozen=True, slots=True)
class Look:
    """How far events are numbered: the newest position, and a transaction before which none waits or will.

    All transactions before it have ended, and their events have positions.
    """

    position: int
    settled_before: int
    waiting: bool


UNSEEN = Look(position=0, settled_before=0, waiting=False)


class Sequencer:
    """Numbers what is committed, and tells `commits` of every new position, whoever gave it.

    `connect` makes a connection of the sequencer's own, and raises StoreUnavailable. Its transactions are READ
    COMMITTED and synchronous: a position that was told is not taken back by a crash. Its lock_timeout and
    statement_timeout bound how long the lease is waited for, and held. Lives on the event loop.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], commits: CommitNotifier) -> None:
        self._connect = connect
        self._commits = commits
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._seen = UNSEEN
        self._db: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and begin to number. Raises what `connect` raises, and errors of asyncpg."""
        db = await self._connected()
        try:
            async with asyncio.timeout(ROUND_S):
                self._seen = await look(db, UNSEEN)
        except BaseException:
            self._leave()
            raise
        self._woken.set()
        self._task = asyncio.create_task(self._run(), name="sequencer")

    def written(self) -> None:
        """Events were committed by this process."""
        self._woken.set()

    async def stop(self) -> None:
        """Number what was committed until here, where the server answers soon, and disconnect."""
        if self._task is None:
            return
        task, self._task = self._task, None
        self._stopping.set()
        self._woken.set()
        await asyncio.wait({task}, timeout=STOP_S)
        task.cancel()
        await asyncio.wait({task})

    async def _run(self) -> None:
        """Round after round, over one connection after another. It outlives whatever happens to one of them."""
        trouble = FailureReporter()
        last = False
        try:
            while not last:
                last = self._stopping.is_set()
                try:
                    await self._round(self._db or await self._connected())
                except Exception as error:  # noqa: BLE001 - without positions no subscriber of this gateway goes on
                    self._leave()
                    await _within(trouble.met(error), self._stopping)
                else:
                    trouble.over()
                    await self._rest()
            if self._db is not None:
                await close(self._db)
        finally:
            self._leave()

    async def _connected(self) -> Connection:
        self._db = db = await self._connect()
        # Another server may answer: its transactions are numbered otherwise.
        self._seen = replace(self._seen, settled_before=0)
        try:
            async with asyncio.timeout(ROUND_S):
                await db.add_listener(CHANNEL, self._told)
                db.add_termination_listener(self._told)
        except BaseException:
            self._leave()
            raise
        return db

    def _leave(self) -> None:
        """Let go of the connection without waiting for the server, which may not answer."""
        if self._db is not None:
            self._db.terminate()
            self._db = None

    def _told(self, *_: object) -> None:
        """Somebody gave positions, itself maybe, so that more may wait; or the connection is lost."""
        self._woken.set()

    async def _round(self, db: Connection) -> None:
        """Number what waits, and wake subscribers where positions were given, by whomever.

        A position is looked for and not taken from notifications: those are lost with a connection.
        """
        self._woken.clear()
        before = self._seen
        async with asyncio.timeout(ROUND_S):
            seen = await look(db, before)
            if seen.waiting:
                await db.execute(_NUMBER % seen.settled_before)
                seen = await look(db, seen)
        self._seen = seen
        if seen.position != before.position:
            self._commits.add()

    async def _rest(self) -> None:
        """Until there is something to do, and no shorter than the pace."""
        await _within(PACE_S, self._stopping)
        if not self._stopping.is_set():
            await _within(POLL_S, self._woken)


class FailureReporter:
    """What keeps events from being numbered: how long to wait before it is tried again, and when a person is told."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._failures = 0
        self._since = self._clock()
        self._told_at: float | None = None

    def met(self, error: Exception) -> float:
        """It failed once more. Answers the seconds to wait."""
        if not isinstance(error, StoreUnavailable) and not is_outage(error):
            log_unexpected_error(error)
        late = self._clock() - self._since
        if late >= LATE_S and (self._told_at is None or self._clock() - self._told_at >= REMINDER_S):
            self._told_at = self._clock()
            log.warning(
                "events are not numbered: subscribers see none that are newer",
                seconds=round(late),
                error=str(error) or type(error).__name__,
                advice=_advice(error),
            )
        first, most = BACKOFF_S
        self._failures += 1
        return min(most, first * 2.0 ** min(self._failures - 1, 10))

    def over(self) -> None:
        """It works, or works again."""
        self._failures = 0
        self._since = self._clock()
        if self._told_at is not None:
            self._told_at = None
            log.info("events are numbered again")


def _advice(error: Exception) -> str:
    if isinstance(error, asyncpg.LockNotAvailableError | asyncpg.QueryCanceledError):
        return (
            "a session holds the row of table sequencer: find it in pg_locks and pg_stat_activity, and end it with "
            "pg_terminate_backend; it is tried again until then"
        )
    return "see that PostgreSQL runs and takes writes; it is tried again until then"


async def look(db: Connection, before: Look) -> Look:
    """Look again, from where the last look has left off."""
    (row,) = await db.fetch(_LOOK, str(before.settled_before))
    under_way, waiting = int(row["oldest_under_way"]), row["oldest_waiting"]
    settled_before = under_way if waiting is None else min(under_way, int(waiting))
    return Look(row["newest"] or 0, settled_before, waiting is not None)


async def _within(seconds: float, happened: asyncio.Event) -> None:
    """Wait until it happened, or the time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await happened.wait()
