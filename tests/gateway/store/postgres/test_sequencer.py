"""The sequencer: one order for all subscribers, whichever gateway numbers, and whatever happens to it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from gateway.store.base import EventUnknown, StoreUnavailable
from gateway.store.models import Event
from gateway.store.postgres import events, sequencer
from tests.gateway.store.postgres.sequencing import (
    ALL,
    Replica,
    commit,
    cut_off,
    follow,
    numbered,
    numberings,
    replicas,
    session,
    write,
)
from tests.support.waiting import until


@pytest.fixture
def unpolled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks unless he is woken."""
    monkeypatch.setattr(sequencer, "POLL_INTERVAL_S", 3600.0)


# --- One order --------------------------------------------------------------------------------------------------------


async def test_what_commits_later_comes_later(postgres_url: str) -> None:
    """A transaction that began first and commits last is numbered last: no subscriber that has read on misses it."""
    async with replicas(postgres_url) as [replica], session(postgres_url) as early, session(postgres_url) as late:
        begun = early.transaction()
        await begun.start()
        first = await commit(early)
        second = await commit(late)
        replica.sequencer.notify()
        assert await follow(postgres_url, 1) == second
        await begun.commit()
        replica.sequencer.notify()
        assert await follow(postgres_url, 2) == [*second, *first]
        assert await events.events_after(late, second[0].id, ALL, 10) == tuple(first)


async def test_what_is_not_numbered_is_not_read(postgres_url: str) -> None:
    """An event without a position is neither read, nor the newest, nor a place to go on from."""
    async with session(postgres_url) as db:
        (added,) = await commit(db)
        assert await events.events_after(db, "", ALL, 10) == ()
        assert await events.newest_event_id(db) == ""
        with pytest.raises(EventUnknown):
            await events.events_after(db, added.id, ALL, 10)


async def test_sequencers_together_give_one_order(postgres_url: str) -> None:
    """Three sequencers and six writers at once: no gap, and a follower sees the final order."""
    async with replicas(postgres_url, 3) as running:
        writing = [asyncio.create_task(write(postgres_url, running[number % 3], 30, number)) for number in range(6)]
        following = asyncio.create_task(follow_until_written(postgres_url, writing))
        written = {each.id for part in await asyncio.gather(*writing) for each in part}
        in_order = [each.id for each in await numbered(postgres_url, len(written))]
        assert set(in_order) == written
        assert [each.id for each in await following] == in_order


async def follow_until_written(url: str, writing: Sequence["asyncio.Task[list[Event]]"]) -> list[Event]:
    """Follow from the first event to the last that these write."""
    seen: list[Event] = []
    async with session(url) as db:
        while not (all(task.done() for task in writing) and len(seen) == sum(len(task.result()) for task in writing)):
            seen.extend(await events.events_after(db, seen[-1].id if seen else "", ALL, 7))
    return seen


async def test_a_backlog_is_numbered_to_its_end(postgres_url: str, unpolled: None) -> None:
    """More than one round holds is numbered round after round, in its order, though nobody wakes the sequencer."""
    async with session(postgres_url) as db:
        added = await commit(db, sequencer.MAX_EVENTS_PER_ROUND * 2 + 1)
    async with replicas(postgres_url):
        assert await numbered(postgres_url, len(added)) == tuple(added)


async def test_what_is_settled_is_not_looked_at_again(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbered events are not scanned again, whatever a backup keeps alive; a transaction in progress is waited for."""
    monkeypatch.setattr(sequencer, "POLL_INTERVAL_S", 0.05)
    newest = "SELECT max(kept_by)::text FROM events"
    async with replicas(postgres_url) as [replica], session(postgres_url) as db, session(postgres_url) as other:

        async def all_is_settled() -> bool:
            return replica.sequencer._seen.settled_before > int(await db.fetchval(newest))

        async with other.transaction(isolation="repeatable_read", readonly=True):
            await other.fetch("SELECT FROM events")
            await commit(db)
            await until(all_is_settled)
        async with other.transaction():
            (late,) = await commit(other)
            await commit(db)
            assert (await follow(postgres_url, 2))[-1] != late
            assert not await all_is_settled()
        await until(all_is_settled)
        assert (await numbered(postgres_url, 3))[-1] == late


async def test_transactions_are_in_the_order_of_their_numbers(postgres_url: str) -> None:
    """Also where one number has a digit more than the other."""
    async with session(postgres_url) as db:
        first, second, third = await commit(db, 3)
        for each, transaction in ((first, 99), (second, 100), (third, 101)):
            await db.execute(f"UPDATE events SET kept_by = '{transaction}' WHERE id = $1", each.id)  # noqa: S608
        look = await sequencer.read_progress(db, sequencer.NO_PROGRESS)
        assert (look.settled_before, look.waiting) == (99, True)
        look = await sequencer.read_progress(db, replace(look, settled_before=100))
        assert (look.settled_before, look.waiting) == (100, True)
        async with replicas(postgres_url):
            assert await numbered(postgres_url, 3) == (first, second, third)


async def test_over_a_new_connection_nothing_counts_as_settled(postgres_url: str, unpolled: None) -> None:
    """Another server may answer after a failover or a restore, whose transactions have lower numbers."""
    async with replicas(postgres_url) as [replica], session(postgres_url) as db:
        await until(lambda: len(replica.statements) > 2)
        replica.sequencer._seen = replace(replica.sequencer._seen, settled_before=10**12)
        replica.door.clear()
        await cut_off(db, replica)
        await commit(db)
        replica.door.set()
        await numbered(postgres_url, 1)


async def test_events_that_are_lost_are_logged(postgres_url: str, unpolled: None) -> None:
    """Where the database is as it was before, an operator learns it, and subscribers are woken."""
    async with replicas(postgres_url) as [replica], session(postgres_url) as db:
        await commit(db, 2)
        replica.sequencer.notify()
        await until(lambda: replica.sequencer._seen.position == 2)
        await db.execute("DELETE FROM events WHERE position = 2")
        seen = await replica.commits.wait_past(-1)
        with capture_logs() as lines:
            replica.sequencer.notify()
            await replica.woken(seen)
    (line,) = (line for line in lines if "has lost events" in line["event"])
    assert (line["newest_position"], line["newest_position_before"], line["log_level"]) == (1, 2, "error")


# --- Waking -----------------------------------------------------------------------------------------------------------


async def test_a_commit_wakes_the_subscribers_of_all(postgres_url: str, unpolled: None) -> None:
    """Woken by its own commits a sequencer numbers, and the subscribers of every gateway wake once, and can read."""
    async with replicas(postgres_url, 3) as running, session(postgres_url) as db:
        for round_, replica in enumerate(running):
            await commit(db, 5)
            replica.sequencer.notify()
            assert [await each.woken(round_) for each in running] == [round_ + 1] * 3
            assert len(await events.events_after(db, "", ALL, 100)) == 5 * (round_ + 1)


async def test_events_of_the_dead_are_numbered(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that died between its commit and waking anybody, another numbers the events when it polls."""
    monkeypatch.setattr(sequencer, "POLL_INTERVAL_S", 0.1)
    async with replicas(postgres_url) as [replica], session(postgres_url) as db:
        for round_ in range(2):
            await commit(db)
            assert await replica.woken(round_) == round_ + 1
        await numbered(postgres_url, 2)


async def test_what_was_numbered_while_it_was_away_wakes_too(postgres_url: str, unpolled: None) -> None:
    """A notification that was missed between two connections is made up for: the subscribers wake."""
    async with replicas(postgres_url, 2) as [near, far], session(postgres_url) as db:
        await until(lambda: len(far.statements) > 2)
        far.door.clear()
        await cut_off(db, far)
        await commit(db)
        near.sequencer.notify()
        assert await near.woken(0) == 1
        assert await far.woken(-1) == 0
        far.door.set()
        assert await far.woken(0) == 1


async def test_at_rest_it_only_polls(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing happens, a sequencer asks one question a poll."""
    monkeypatch.setattr(sequencer, "POLL_INTERVAL_S", 0.1)
    async with replicas(postgres_url) as [replica]:
        clock, first = asyncio.get_running_loop().time, len(replica.statements)
        began = clock()
        await until(lambda: len(replica.statements) >= first + 6)
        assert clock() - began > 4 * 0.1
        assert set(replica.statements[first:]) == {sequencer._PROGRESS}


async def test_under_load_it_commits_at_its_pace(postgres_url: str, unpolled: None) -> None:
    """However fast commits come, they are numbered together, and no more often than the pace allows."""
    rounds, added = 20, 0
    async with replicas(postgres_url) as [replica], session(postgres_url) as db:
        began = asyncio.get_running_loop().time()
        while numberings(replica) < rounds:
            added += len(await commit(db))
            replica.sequencer.notify()
        assert asyncio.get_running_loop().time() - began > (rounds - 2) * sequencer.MIN_ROUND_INTERVAL_S
        await numbered(postgres_url, added)


# --- Start and stop ---------------------------------------------------------------------------------------------------


async def test_stopping_numbers_what_was_committed(
    postgres_url: str, unpolled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a gateway committed before it stops is numbered when it has stopped, at once and with no time-out."""
    monkeypatch.setattr(sequencer, "STOP_TIMEOUT_S", 3600.0)
    async with session(postgres_url) as db:
        async with replicas(postgres_url, 2) as [idle, replica]:
            await until(lambda: len(idle.statements) > 2)
            async with asyncio.timeout(60):
                await idle.sequencer.stop()
            added = await commit(db)
            replica.sequencer.notify()
            async with asyncio.timeout(60):
                await replica.sequencer.stop()
        assert await events.events_after(db, "", ALL, 10) == tuple(added)
        assert await db.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", replica.pid) == 0


async def test_starting_without_a_server_is_said(postgres_url: str) -> None:
    """A sequencer that cannot connect does not start."""
    replica = Replica(postgres_url + ".none")
    with pytest.raises(StoreUnavailable):
        await replica.sequencer.start()
    await replica.sequencer.stop()
