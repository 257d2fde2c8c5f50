"""What the sequencer survives: killed and frozen gateways, a stopped server, another program's changes, bugs."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress

import asyncpg
import pytest
from structlog.testing import capture_logs

from gateway.store.base import StoreUnavailable
from gateway.store.models import Event
from gateway.store.postgres import events, sequencer
from gateway.store.postgres.connection import UNBOUNDED, Connection
from tests.gateway.store.postgres.sequencing import (
    ALL,
    commit,
    cut_off,
    make_slow,
    migrate,
    numbered,
    numberings,
    replica_process,
    replicas,
    session,
    who_numbers,
)
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.waiting import until

LOST = (StoreUnavailable, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What a writer or a reader meets while the server is away."""


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server that nobody else uses, to be treated badly."""
    with postgres_server() as server:
        yield server


@pytest.fixture
async def own_url(own_postgres: PostgresServer) -> str:
    """A migrated, empty database on it."""
    url = own_postgres.url(await own_postgres.create())
    await migrate(url)
    return url


async def test_a_holder_killed_in_the_middle_leaves_nothing_half_done(postgres_url: str) -> None:
    """Killed with the lease in his hand, a holder has numbered nothing, and it is done over without a gap."""
    async with session(postgres_url) as db:
        added = await commit(db, 40)
        await make_slow(db, 0.005)
        async with replicas(postgres_url, 2):
            for _ in range(3):
                assert await db.fetchval("SELECT pg_terminate_backend($1, 5000)", await who_numbers(db))
                assert await events.newest_event_id(db) == ""
            assert await numbered(postgres_url, 40) == tuple(added)


async def test_a_frozen_gateway_delays_no_other(postgres_url: str) -> None:
    """A gateway that freezes in the middle of numbering keeps no lease: another numbers what comes after."""
    async with session(postgres_url) as db, replica_process(postgres_url) as process:
        await make_slow(db, 0.005)
        first = await commit(db, 20)
        await who_numbers(db)
        os.kill(process.pid, signal.SIGSTOP)
        async with replicas(postgres_url) as [replica]:
            second = await commit(db, 20)
            replica.sequencer.notify()
            assert await numbered(postgres_url, 40) == (*first, *second)
            assert (
                await db.fetchval("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'") == 0
            )


async def test_a_killed_gateway_delays_no_other(postgres_url: str) -> None:
    """The same where the process is killed, as often as it happens."""
    added: list[Event] = []
    async with session(postgres_url) as db, replicas(postgres_url) as [replica]:
        await make_slow(db, 0.002)
        for _ in range(3):
            async with replica_process(postgres_url) as process:
                added += await commit(db, 20)
                await who_numbers(db)
                os.kill(process.pid, signal.SIGKILL)
        replica.sequencer.notify()
        assert await numbered(postgres_url, len(added)) == tuple(added)


async def test_the_log_says_what_holds_the_lease(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another session holds the lease it is retried with backoff, and the log says what to do."""
    monkeypatch.setattr(sequencer, "LATE_AFTER_S", 0.5)
    with capture_logs() as lines:
        async with session(postgres_url) as db, session(postgres_url) as other, replicas(postgres_url) as [replica]:
            holding = other.transaction()
            await holding.start()
            await other.execute("SELECT FROM sequencer FOR UPDATE")
            await commit(db)
            replica.sequencer.notify()
            await until(lambda: numberings(replica) == 3)
            await holding.rollback()
            await numbered(postgres_url, 1)
            await until(lambda: lines[-1]["log_level"] == "info")
    warning, recovered = lines
    assert "pg_terminate_backend" in warning["advice"]
    assert warning["log_level"] == "warning"
    assert "event sequencer recovered" in recovered["event"]


async def test_a_server_that_restarts(own_postgres: PostgresServer, own_url: str) -> None:
    """Over restarts as by a power cut, every committed event is numbered once, and no subscriber's order breaks."""
    written: list[str] = []
    seen: list[str] = []
    done = asyncio.Event()

    async def write_on() -> None:
        async with session(own_url) as db:
            while not done.is_set():
                written.extend(each.id for each in await commit(db, 3))
                running[0].sequencer.notify()

    async def read_on() -> None:
        async with session(own_url) as db:
            while not (writing.done() and set(written) <= set(seen)):
                seen.extend(each.id for each in await events.events_after(db, seen[-1] if seen else "", ALL, 50))

    async def whatever_happens(work: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            with suppress(*LOST):
                return await work()
            await asyncio.sleep(0.01)

    async with replicas(own_url, 2) as running, asyncio.TaskGroup() as group:
        writing = group.create_task(whatever_happens(write_on))
        group.create_task(whatever_happens(read_on))
        for _ in range(3):
            await until(seen_grows(seen))
            await asyncio.to_thread(own_postgres.stop, "immediate")
            await asyncio.to_thread(own_postgres.start)
        await until(seen_grows(seen))
        done.set()
    assert [each.id for each in await numbered(own_url, len(seen))] == seen


def seen_grows(seen: Sequence[str]) -> Callable[[], bool]:
    """Whether there are more than there are now."""
    enough = len(seen) + 30
    return lambda: len(seen) >= enough


async def test_a_server_that_does_not_answer_is_left(
    own_postgres: PostgresServer, own_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a connection hangs, the sequencer takes another one."""
    monkeypatch.setattr(sequencer, "ROUND_TIMEOUT_S", 0.3)
    async with replicas(own_url) as [replica], session(own_url) as db:
        hung = replica.pid
        os.kill(hung, signal.SIGSTOP)
        try:
            await commit(db)
            replica.sequencer.notify()
            await numbered(own_url, 1)
            assert replica.pid != hung
        finally:
            os.kill(hung, signal.SIGCONT)


async def test_stopping_waits_for_no_server(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot be reached, or an answer that does not come, keeps no gateway from stopping."""
    monkeypatch.setattr(sequencer, "STOP_TIMEOUT_S", 0.1)
    monkeypatch.setattr(sequencer, "ROUND_TIMEOUT_S", 3600.0)
    async with session(postgres_url) as db:
        async with replicas(postgres_url) as [replica]:
            replica.door.clear()
            await cut_off(db, replica)
            async with asyncio.timeout(60):
                await replica.sequencer.stop()
        async with replicas(postgres_url, settings=UNBOUNDED) as [replica], db.transaction():
            await db.execute("SELECT FROM sequencer FOR UPDATE")
            async with session(postgres_url) as other:
                await commit(other)
            replica.sequencer.notify()
            async with asyncio.timeout(60):  # neither the server nor the round gives up on the lease
                await replica.sequencer.stop()


async def test_without_the_lease_row_nothing_is_numbered(postgres_url: str) -> None:
    """Where another session deleted the row that is the lease, nothing is numbered until it is there again."""
    with capture_logs() as lines:
        async with replicas(postgres_url) as [replica], session(postgres_url) as db:
            await db.execute("DELETE FROM sequencer")
            await commit(db)
            replica.sequencer.notify()
            await until(lambda: numberings(replica) == 2)
            assert await events.newest_event_id(db) == ""
            await db.execute("INSERT INTO sequencer (one) VALUES (1)")
            await numbered(postgres_url, 1)
    assert {line["error_type"] for line in lines} == {"NoDataFoundError"}


async def test_a_bug_does_not_end_it(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised in a round, the next one is tried."""

    async def fall(db: Connection, before: sequencer.Progress) -> sequencer.Progress:
        monkeypatch.undo()
        raise RuntimeError("a bug")

    with capture_logs() as lines:
        async with replicas(postgres_url) as [replica], session(postgres_url) as db:
            monkeypatch.setattr(sequencer, "read_progress", fall)
            await commit(db)
            replica.sequencer.notify()
            await numbered(postgres_url, 1)
    assert [line["error_type"] for line in lines] == ["RuntimeError"]
