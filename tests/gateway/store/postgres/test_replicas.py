"""Several gateways on one database: each reference moves money once, whichever gateway is asked, without deadlocks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from adapters.contract import Certainty
from gateway.store.base import PostingRecords
from gateway.store.housekeeping import ABANDONED_AFTER
from gateway.store.models import Actor, Applied, Direction, PostingFault, PostingRefused, ProviderState
from gateway.store.postgres import PostgresStore
from gateway.store.postgres.unit_of_work import UnitOfWork
from tests.gateway.store.postgres.inside import committer, held, statements, value
from tests.gateway.store.samples import (
    NOW,
    cash,
    deliver,
    event,
    exchange,
    failed,
    item,
    open_items,
    opened,
    outbound,
    posting,
    published_events,
    records_of,
    settled,
    target,
)
from tests.support.actors import ADA


@pytest.fixture
async def stores(postgres_url: str, long_timeouts: None) -> AsyncIterator[list[PostgresStore]]:
    """Three gateways' stores on one database, with six accounts."""
    stores = [PostgresStore(postgres_url) for _ in range(3)]
    for store in stores:
        await store.open()
    for number in range(6):
        await opened(stores[0], f"player-{number}")
    yield stores
    for store in stores:
        await store.close()


async def test_the_same_references_at_the_same_time(stores: list[PostgresStore]) -> None:
    """Three gateways that answer the same deliveries give each reference one id, one credit and one event."""
    deliveries = [
        posting(f"ref-{number}", user_id=f"player-{number % 6}", amount=Decimal("0.1"))
        for number in range(40)
        for _ in range(8)
    ]
    shuffled = [deliveries, deliveries[::-1], deliveries[100:] + deliveries[:100]]
    results = await asyncio.gather(
        *(deliver(store, each) for store, order in zip(stores, shuffled, strict=True) for each in order)
    )
    asked = [each for order in shuffled for each in order]
    applied = [
        (each.reference, result) for each, result in zip(asked, results, strict=True) if isinstance(result, Applied)
    ]
    assert len(applied) == len(asked)
    assert len({(reference, result.transaction_id) for reference, result in applied}) == 40
    assert sum(not result.replayed for _, result in applied) == 40
    balances = [await cash(stores[0], f"player-{number}") for number in range(6)]
    assert sum(balances) == 4
    assert len(await published_events(stores[1])) == 40
    assert await stores[2].discrepancies() == ()


async def test_accounts_in_any_order_never_deadlock(stores: list[PostgresStore], postgres_url: str) -> None:
    """Batches of several gateways that credit the same accounts in opposite orders wait for each other, and no more:
    no credit overwrites another's.
    """
    for turn in range(15):
        orders = [range(6), range(5, -1, -1), [(number * 5 + turn) % 6 for number in range(6)]]
        results = await asyncio.gather(
            *(
                deliver(store, posting(f"{turn}-{seed}-{number}", user_id=f"player-{number}"))
                for seed, (store, order) in enumerate(zip(stores, orders, strict=True))
                for number in order
            )
        )
        assert all(isinstance(result, Applied) for result in results)
    assert {await cash(stores[0], f"player-{number}") for number in range(6)} == {Decimal("10.5") * 15 * 3}
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await value(postgres_url, deadlocks) == 0


@pytest.mark.parametrize("kind", ["expiry", "outcome", "item", "account", "switch"])
async def test_operations_in_any_order_never_deadlock(stores: list[PostgresStore], kind: str) -> None:
    """Duplicates that reach several gateways in opposite orders cost nobody an answer."""

    def write(store: PostgresStore, number: int) -> Coroutine[Any, Any, object]:
        content = posting(f"ref-{number}")
        applied = Applied(f"transaction-{number}", "EUR", Decimal(1), replayed=False)
        writes: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
            "expiry": lambda: store.record_expiry(event(session_id=f"session-{number}"), "p", exchange()),
            "outcome": lambda: store.record_outcome(content, applied, records_of(content), NOW),
            "item": lambda: store.record_exchange(exchange(), item(reference=f"ref-{number}"), event()),
            "account": lambda: store.open_account(f"new-{number}", "EUR", Decimal(0), NOW),
            "switch": lambda: store.change_provider_state(
                f"provider-{number:04}", ProviderState.DISABLED, ADA, "seen", NOW
            ),
        }
        return writes[kind]()

    first, second, _ = stores
    said = [statements(store) for store in (first, second)]
    for turn in range(5):
        numbers = range(turn * 50, turn * 50 + 50)
        async with held(first), held(second):
            tasks = [asyncio.create_task(write(first, number)) for number in numbers]
            tasks += [asyncio.create_task(write(second, number)) for number in reversed(numbers)]
        await asyncio.gather(*tasks)
    assert [each.count("ROLLBACK") for each in said] == [0, 0]  # who waits too long in a circle gives way


async def test_lines_that_two_gateways_may_insert_are_inserted_in_one_order(stores: list[PostgresStore]) -> None:
    """A refusal over gRPC has the same id at every gateway: a batch inserts such lines by id, after the others."""
    store = stores[0]
    refusals = [exchange(id=f"refusal-{number}", direction=Direction.CALLER) for number in range(9, 0, -1)]
    delivered = [exchange(), exchange()]
    async with held(store):
        tasks = [asyncio.create_task(store.record_exchange(line)) for line in (*refusals, *delivered, *refusals)]
    await asyncio.gather(*tasks)
    assert await store.exchanges() == (*delivered, *reversed(refusals))


@pytest.mark.parametrize("concluded", ["settled", "failed"])
async def test_closes_that_cross_never_deadlock(stores: list[PostgresStore], concluded: str) -> None:
    """Two gateways wait for each other in one order where one begins again, or concludes, what the other settles."""

    def write(store: PostgresStore, request_id: str, *, settling: bool) -> Coroutine[Any, Any, object]:
        if settling:
            return store.settle_close(request_id, settled(), outbound(request_id=request_id), None)
        if concluded == "settled":
            return store.begin_close(request_id, target(), NOW)
        return store.fail_close(request_id, failed(Certainty.UNKNOWN), outbound(request_id=request_id), None)

    first, second, _ = stores
    said = [statements(store) for store in (first, second)]
    for turn in range(5):
        ids = [f"close-{turn}-{number:03}" for number in range(100)]
        await asyncio.gather(*(first.begin_close(request_id, target(), NOW) for request_id in ids))
        async with held(first), held(second):
            tasks = [asyncio.create_task(write(first, each, settling=each < ids[50])) for each in ids]
            tasks += [asyncio.create_task(write(second, each, settling=each >= ids[50])) for each in ids]
        await asyncio.gather(*tasks)
    assert [each.count("ROLLBACK") for each in said] == [0, 0]  # who waits too long in a circle gives way


async def test_a_deadlock_is_tried_again(stores: list[PostgresStore]) -> None:
    """Where operations deadlock all the same, the victim is retried, and no caller gets an error."""
    first, second, _ = stores
    tries = 0
    both = asyncio.Barrier(2)

    async def credit_two(store: PostgresStore, one: str, other: str) -> None:
        async def operation(writing: UnitOfWork) -> None:
            nonlocal tries
            tries += 1
            await writing.db.execute("UPDATE accounts SET cash = cash + 1 WHERE user_id = $1", one)
            if tries <= 2:
                await both.wait()
            await writing.db.execute("UPDATE accounts SET cash = cash + 1 WHERE user_id = $1", other)

        await committer(store).run(operation)

    await asyncio.gather(credit_two(first, "player-0", "player-1"), credit_two(second, "player-1", "player-0"))
    assert tries > 2
    assert [await cash(first, f"player-{number}") for number in range(2)] == [2, 2]


async def test_a_batch_that_another_gateway_overtook_is_posted_again(stores: list[PostgresStore]) -> None:
    """The same reference for two players at two gateways at once: one is credited, the other is refused."""
    for turn in range(10):
        results = await asyncio.gather(
            *(deliver(store, posting(f"ref-{turn}", user_id=f"player-{number}")) for number, store in enumerate(stores))
        )
        assert sum(isinstance(result, Applied) for result in results) == 1
        refusals = [result for result in results if not isinstance(result, Applied)]
        assert refusals == [PostingRefused(PostingFault.REFERENCE_REUSED, "user_id")] * 2
    assert sum([await cash(stores[0], f"player-{number}") for number in range(6)]) == 105
    assert await stores[0].discrepancies() == ()


async def test_an_overtaken_batch_writes_nothing_of_its_first_try(
    stores: list[PostgresStore], postgres_url: str
) -> None:
    """A gateway whose reference is taken between its read and its write posts again, with what is committed by then."""
    store = stores[0]
    elsewhere = PostgresStore(postgres_url)
    seen: list[Applied | PostingRefused] = []

    async def take() -> None:
        await elsewhere.open()
        await deliver(elsewhere, posting("ref-1", user_id="player-0"))
        await elsewhere.close()

    def overtaken(outcome: Applied | PostingRefused) -> PostingRecords:
        if not seen:
            with ThreadPoolExecutor() as threads:  # a loop in another thread: this one waits here
                threads.submit(asyncio.run, take()).result()
        seen.append(outcome)
        return records_of(posting("ref-1", user_id="player-1"))(outcome)

    async with held(store):
        late = asyncio.create_task(store.apply(posting("ref-1", user_id="player-1"), NOW, overtaken))
        neighbour = asyncio.create_task(deliver(store, posting("ref-2", user_id="player-2")))
    assert (await late).outcome == PostingRefused(PostingFault.REFERENCE_REUSED, "user_id")
    assert isinstance(await neighbour, Applied)
    assert [type(outcome) for outcome in seen] == [Applied, PostingRefused]
    assert [await cash(store, f"player-{number}") for number in range(3)] == [Decimal("10.5"), 0, Decimal("10.5")]
    assert [each.field for each in await open_items(store)] == ["user_id"]
    assert len(await published_events(store)) == 3
    assert await store.discrepancies() == ()


async def test_closures_are_shared(stores: list[PostgresStore]) -> None:
    """Attempts begun at several gateways at once are counted one by one, each knowing of those before it."""
    records = await asyncio.gather(
        *(store.begin_close("request-1", target(), NOW) for store in stores for _ in range(4))
    )
    assert sorted(record.attempts for record in records) == list(range(1, 13))


async def test_items_and_expiries_are_new_once(stores: list[PostgresStore]) -> None:
    """The same item and the same expiry at several gateways are one, with one event."""
    await asyncio.gather(*(store.record_exchange(exchange(), item(), event()) for store in stores for _ in range(5)))
    new = await asyncio.gather(
        *(store.record_expiry(event(session_id="s"), "p", exchange()) for store in stores for _ in range(5))
    )
    assert len(await open_items(stores[0])) == 1
    assert sum(new) == 1
    assert len(await published_events(stores[1])) == 2
    assert len(await stores[2].exchanges(limit=1000)) == 30


async def test_accounts_are_opened_once(stores: list[PostgresStore]) -> None:
    """The same account opened at several gateways at once answers all of them the same."""
    answers = await asyncio.gather(
        *(store.open_account("new", "EUR", Decimal("5.00"), NOW) for store in stores for _ in range(5))
    )
    assert {answer.cash for answer in answers} == {5}


async def test_bodies_are_trimmed_by_several_at_once(stores: list[PostgresStore]) -> None:
    """Each line is trimmed by one of them, and none waits for another's."""
    await asyncio.gather(*(stores[0].record_exchange(exchange()) for _ in range(60)))
    counts: list[int] = []
    while count := sum(await asyncio.gather(*(store.trim_bodies(NOW.replace(year=2027), 7) for store in stores))):
        counts.append(count)
    assert sum(counts) == 60


async def test_a_switch_at_several_gateways_is_one(stores: list[PostgresStore]) -> None:
    """The first changes the state; the others get its change, at whichever gateway."""
    for turn in range(20):
        to = ProviderState.ENABLED if turn % 2 else ProviderState.DISABLED
        answers = await asyncio.gather(
            *(
                store.change_provider_state("acme", to, Actor(f"operator-{number}"), "seen", NOW)
                for number, store in enumerate(stores)
            )
        )
        assert sum(made for _, made in answers) == 1
        assert len({standing.id for standing, _ in answers if standing}) == 1
        assert {(standing.number, standing.state) for standing, _ in answers if standing} == {(turn + 1, to)}
    assert len((await stores[0].provider_state_changes()).entries) == len(await stores[1].exchanges()) == 20


# --- Clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [timedelta(minutes=10), timedelta(minutes=-10), timedelta(days=400)])
async def test_a_replica_with_another_clock_reports_nothing_that_is_under_way(
    stores: list[PostgresStore], postgres_url: str, apart: timedelta
) -> None:
    """An attempt is as old as the server says: neither the clock of who began it counts nor that of who asks."""
    here, there, *_ = stores
    now = datetime.now(UTC)
    await here.begin_close("under-way", target(), now - apart)
    await here.begin_close("cut-off", target(), now - apart)
    await here.fail_close("under-way", failed(Certainty.NOT_SENT), None)
    await here.begin_close("under-way", target(), now - apart)
    aged = f"UPDATE targets SET begun_at = begun_at - interval '{ABANDONED_AFTER}' WHERE request_id = 'cut-off'"  # noqa: S608 - our own words
    await value(postgres_url, aged)
    assert await there.report_abandoned(ABANDONED_AFTER, now + apart) == 1
    assert [each.reference for each in await open_items(there)] == ["cut-off"]
