"""Sequencers over one real database, without a store, with writers and readers at the same time."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from gateway.store.commit_notifier import CommitNotifier
from gateway.store.models import Event, EventFilter
from gateway.store.postgres import PostgresStore, events
from gateway.store.postgres.connection import UNBOUNDED, WRITING, Connection, connect
from gateway.store.postgres.sequencer import Sequencer
from gateway.store.postgres_url import parse
from tests.gateway.store.samples import event
from tests.support.waiting import until

ALL = EventFilter()


@dataclass
class Replica:
    """One gateway's sequencer, and how often it woke its subscribers. `door` shut keeps it from connecting again."""

    url: str
    commits: CommitNotifier = field(default_factory=CommitNotifier)
    door: asyncio.Event = field(default_factory=asyncio.Event)
    statements: list[str] = field(default_factory=list)
    settings: Mapping[str, str] = field(default_factory=lambda: WRITING)
    pid: int = 0
    """The server's process of its connection."""

    def __post_init__(self) -> None:
        self.door.set()
        self.sequencer = Sequencer(self._connect, self.commits)

    async def woken(self, seen: int) -> int:
        """Wait until subscribers were woken more often than that, and answer how often they were."""
        async with asyncio.timeout(30):
            return await self.commits.wait_past(seen)

    async def _connect(self) -> Connection:
        await self.door.wait()
        db = await connect(parse(self.url), "sequencer", self.settings)
        self.pid = db.get_server_pid()
        db.add_query_logger(lambda query: self.statements.append(query.query))
        return db


@asynccontextmanager
async def replicas(url: str, count: int = 1, settings: Mapping[str, str] = WRITING) -> AsyncIterator[list[Replica]]:
    """Sequencers that run."""
    async with AsyncExitStack() as stack:
        running = [Replica(url, settings=settings) for _ in range(count)]
        for replica in running:
            await replica.sequencer.start()
            stack.push_async_callback(replica.sequencer.stop)
        yield running


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Connection]:
    """A connection of the test's own."""
    db = await connect(parse(url), "test", UNBOUNDED)
    try:
        yield db
    finally:
        db.terminate()


async def migrate(url: str) -> None:
    """Bring an empty database to this release's schema."""
    store = PostgresStore(url)
    await store.open()
    await store.close()


async def commit(db: Connection, count: int = 1) -> list[Event]:
    """Commit events in one transaction, and wake nobody."""
    added = [event() for _ in range(count)]
    await events.insert(db, added)
    return added


async def write(url: str, replica: Replica, transactions: int, seed: int) -> list[Event]:
    """Transactions of a few events each, that take their time between the first and the commit."""
    chance = random.Random(seed)  # noqa: S311 - the same each time, no secret
    added: list[Event] = []
    async with session(url) as db:
        for _ in range(transactions):
            async with db.transaction():
                for _ in range(chance.randint(1, 3)):
                    added += await commit(db)
                    await asyncio.sleep(chance.uniform(0, 0.005))
            replica.sequencer.notify()
    return added


async def follow(url: str, total: int, *, batch: int = 7) -> list[Event]:
    """Read on from behind the last one, again and again, until that many came."""
    seen: list[Event] = []
    async with session(url) as db, asyncio.timeout(30):
        while len(seen) < total:
            seen.extend(await events.events_after(db, seen[-1].id if seen else "", ALL, batch))
    return seen


async def numbered(url: str, total: int) -> Sequence[Event]:
    """All events in their order, once there are that many. Their positions are 1, 2, 3 and so on."""
    async with session(url) as db:

        async def are_numbered() -> bool:
            return int(await db.fetchval("SELECT count(position) FROM events")) >= total

        await until(are_numbered)
        positions = [row["position"] for row in await db.fetch("SELECT position FROM events ORDER BY position")]
        assert positions == list(range(1, total + 1))
        return await events.events_after(db, "", ALL, total + 1)


async def make_slow(db: Connection, seconds: float) -> None:
    """Let giving a position take so long, for each event."""
    await db.execute(f"""
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$;
        CREATE TRIGGER slow BEFORE UPDATE ON events FOR EACH ROW EXECUTE FUNCTION dawdle();
    """)


async def who_numbers(db: Connection) -> int:
    """The process id of the server's process that is in the middle of numbering."""
    found: list[int] = []

    async def is_seen() -> bool:
        found.extend(
            row["pid"] for row in await db.fetch("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        )
        return bool(found)

    await until(is_seen)
    return found[0]


async def cut_off(db: Connection, replica: Replica) -> None:
    """End a replica's connection, as the server's operator would."""
    assert await db.fetchval("SELECT pg_terminate_backend($1, 5000)", replica.pid)


def numberings(replica: Replica) -> int:
    """How often a replica has taken the lease, or tried to."""
    return sum("FOR UPDATE" in statement for statement in replica.statements)


@asynccontextmanager
async def replica_process(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A sequencer in a separate process, which can be frozen and killed."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, url, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"running\n"
        yield process
    finally:
        process.kill()
        await process.wait()


async def _run(url: str) -> None:
    async with replicas(url):
        sys.stdout.write("running\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1]))
