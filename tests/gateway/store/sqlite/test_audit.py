"""What does not add up is found and named, and nothing waits for the looking."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.store.audit import Audit
from gateway.store.migration_files import migrations
from gateway.store.models import Applied, Discrepancy
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite.audit import audit
from gateway.store.sqlite.inspect import audit_file
from gateway.store.sqlite.migrations import ENGINE
from tests.gateway.store.samples import NOW, cash, deliver, opened, posting, records_of
from tests.gateway.store.sqlite.inside import writer

REF_1 = "transaction acme 'ref-1'"


async def credited(store: SqliteStore) -> None:
    """Two players with two Results each, one of them with a prize, and amounts that no binary float holds."""
    for user in ("player-1", "player-2"):
        await store.open_account(user, "EUR", Decimal("0.3"), NOW)
        await opened(store, user, "USD")
    await deliver(store, posting("ref-1", amount=Decimal("12345678901234567890.000000000000000001")))
    await deliver(store, posting("ref-2", promo_amount=Decimal("0.1"), promo_reference="promo-1"))
    await deliver(store, posting("ref-3", user_id="player-2"))
    await deliver(store, posting("ref-4", user_id="player-2", currency="USD"))


async def test_sound_books_have_no_discrepancies(store: SqliteStore, path: str) -> None:
    """Every digit counts, in the sum and in the comparison."""
    await credited(store)
    assert await store.discrepancies() == ()
    assert audit_file(Path(path)) == Audit(accounts=4, transactions=5, discrepancies=())


AGAIN = """
    INSERT INTO events (id, type, time, provider, user_id, session_id, request_id, reference)
    SELECT 'again', type, time, provider, user_id, session_id, request_id, reference FROM events
    WHERE reference = 'ref-1'
"""

ONE_LESS = "DELETE FROM events WHERE position = (SELECT min(position) FROM events WHERE reference = 'ref-1')"

TAMPERED = [
    (
        "UPDATE accounts SET cash = '12345678901234567900.9' WHERE user_id = 'player-1' AND currency = 'EUR'",
        Discrepancy(
            "account 'player-1' in EUR", "cash", "12345678901234567900.9", "12345678901234567900.900000000000000001"
        ),
    ),
    (
        "UPDATE accounts SET opening = '7' WHERE user_id = 'player-1' AND currency = 'USD'",
        Discrepancy("account 'player-1' in USD", "cash", "0", "7"),
    ),
    (
        "UPDATE transactions SET amount = '10.6' WHERE reference = 'ref-4'",
        Discrepancy("account 'player-2' in USD", "cash", "10.5", "10.6"),
    ),
    (
        "DELETE FROM transactions WHERE reference = 'promo-1'",
        Discrepancy(
            "account 'player-1' in EUR",
            "cash",
            "12345678901234567900.900000000000000001",
            "12345678901234567900.800000000000000001",
        ),
    ),
    ("DELETE FROM events WHERE reference = 'ref-1'", Discrepancy(REF_1, "events", "0", "1")),
    (
        AGAIN,
        Discrepancy(REF_1, "events", "2", "1"),
    ),
    (
        "UPDATE events SET reference = 'promo-1' WHERE reference = 'ref-2'",
        Discrepancy("transaction acme 'ref-2'", "events", "0", "1"),
    ),
    (
        "UPDATE events SET reference = 'promo-1' WHERE reference = 'ref-2'",
        Discrepancy("event RESULT_CREDITED of acme 'promo-1'", "reference", "no transaction", "1"),
    ),
]


@pytest.mark.parametrize(("statement", "expected"), TAMPERED)
async def test_each_difference_is_named(store: SqliteStore, statement: str, expected: Discrepancy) -> None:
    """The account, the transaction, and the field in which what is differs from what should be."""
    await credited(store)
    await writer(store).run(lambda db: db.execute(statement).rowcount)
    assert expected in await store.discrepancies()


async def test_a_transaction_without_an_account_is_named(store: SqliteStore, path: str) -> None:
    """Only damage could bring it about: the schema refuses it."""
    await credited(store)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM accounts WHERE user_id = 'player-2' AND currency = 'USD'")
    assert await store.discrepancies() == (
        Discrepancy("transaction acme 'ref-4'", "user_id", "no account", "account 'player-2' in USD"),
    )


async def test_an_event_without_a_transaction_is_named(store: SqliteStore, path: str) -> None:
    """An event without its transaction is a discrepancy."""
    await credited(store)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM transactions WHERE reference = 'ref-4'")
    assert Discrepancy("event RESULT_CREDITED of acme 'ref-4'", "reference", "no transaction", "1") in (
        await store.discrepancies()
    )


async def test_what_the_operators_wallet_credited_is_in_no_account(store: SqliteStore) -> None:
    """Its credits are left out of the sums, and have their events; also of a Result that both have credited."""
    await credited(store)
    for reference in ("ref-1", "elsewhere"):
        applied = Applied("wallet-1", "EUR", Decimal(1), replayed=False)
        content = posting(reference)
        await store.record_outcome(content, applied, records_of(content), NOW)
    assert await store.discrepancies() == ()


async def test_of_a_result_that_both_have_credited_each_event_counts(store: SqliteStore) -> None:
    """The wallet's own event is not taken for that of the built-in ledger."""
    await credited(store)
    content = posting("ref-1")
    await store.record_outcome(
        content, Applied("wallet-1", "EUR", Decimal(1), replayed=False), records_of(content), NOW
    )
    await writer(store).run(lambda db: db.execute(ONE_LESS).rowcount)
    assert await store.discrepancies() == (Discrepancy(REF_1, "events", "0", "1"),)


async def test_nothing_waits_for_an_audit(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one looks, Results are credited and balances read; it sees the moment at which it began."""
    await credited(store)
    looking, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(db: sqlite3.Connection) -> Audit:
        db.execute("SELECT count(*) FROM accounts").fetchone()  # the snapshot begins with the first read
        loop.call_soon_threadsafe(looking.set)
        assert release.wait(120)
        return audit(db)

    monkeypatch.setattr("gateway.store.sqlite.store.audit", slow)
    audited = asyncio.create_task(store.discrepancies())
    try:
        async with asyncio.timeout(60):
            await looking.wait()
            assert isinstance(await deliver(store, posting("meanwhile", user_id="player-2")), Applied)
            assert await cash(store, "player-2") == Decimal("21.3")
    finally:
        release.set()
    assert await audited == ()


def test_books_of_release_0_1_0_can_be_audited(path: str) -> None:
    """Before the upgrade, on a database that has not seen this release's migrations."""
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(migrations(ENGINE)[0].sql)
        db.execute("PRAGMA user_version = 1")
        db.execute("INSERT INTO accounts VALUES ('player-1', 'EUR', '1', '2', '2026-11-21T12:30:00.123456+00:00')")
    assert audit_file(Path(path)) == Audit(1, 0, (Discrepancy("account 'player-1' in EUR", "cash", "2", "1"),))
