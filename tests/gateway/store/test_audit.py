"""Books that do not add up are found, each difference by its field; sound ones have none."""

from decimal import Decimal

import pytest

from gateway.store.base import Store
from gateway.store.models import Applied, Discrepancy
from tests.gateway.store.conftest import Database
from tests.gateway.store.samples import NOW, deliver, exchange, posting, records, records_of


@pytest.fixture
async def books(store: Store) -> Store:
    """Sound books: replays, refusals, a prize, another currency, money of the operator's wallet."""
    for user_id, currency, opening in (("player-1", "EUR", "0.1"), ("player-1", "USD", "7"), ("player-2", "EUR", "0")):
        await store.open_account(user_id, currency, Decimal(opening), NOW)
    prize = posting("ref-1", amount=Decimal("0.2"), promo_amount=Decimal("1E-18"), promo_reference="promo-1")
    for each in (prize, prize, posting("ref-2", user_id="player-2"), posting("ref-3", user_id="nobody")):
        await deliver(store, each)
    for reference in ("ref-2", "ref-4"):  # also one that the built-in ledger credited before
        at_wallets = posting(reference, user_id="player-2")
        await store.record_outcome(
            at_wallets, Applied("wallet-1", "EUR", Decimal(9), replayed=False), records_of(at_wallets), NOW
        )
    return store


async def test_sound_books_have_none(books: Store) -> None:
    """What is right is not complained of."""
    assert await books.discrepancies() == ()


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        (
            "UPDATE accounts SET cash = '11' WHERE user_id = 'player-2'",
            Discrepancy("account 'player-2' in EUR", "cash", "11", "10.5"),
        ),
        (
            "UPDATE accounts SET cash = '0.3' WHERE user_id = 'player-1' AND currency = 'EUR'",
            Discrepancy("account 'player-1' in EUR", "cash", "0.3", "0.300000000000000001"),
        ),
        (
            "UPDATE accounts SET opening = '8' WHERE currency = 'USD'",
            Discrepancy("account 'player-1' in USD", "cash", "7", "8"),
        ),
        (
            "UPDATE events SET reference = '' WHERE provider = 'acme' AND reference = 'ref-1'",
            Discrepancy("transaction acme 'ref-1'", "events", "0", "1"),
        ),
        (
            """
            INSERT INTO events (id, type, time, provider, user_id, session_id, request_id, reference)
            SELECT 'once-more', type, time, provider, user_id, session_id, request_id, reference FROM events
            WHERE reference = 'ref-1'
            """,
            Discrepancy("transaction acme 'ref-1'", "events", "2", "1"),
        ),
        (
            "DELETE FROM accounts WHERE user_id = 'player-2'",
            Discrepancy("transaction acme 'ref-2'", "user_id", "no account", "account 'player-2' in EUR"),
        ),
        (
            "DELETE FROM wallet_credits WHERE reference = 'ref-4'",
            Discrepancy("event RESULT_CREDITED of acme 'ref-4'", "reference", "no transaction", "1"),
        ),
    ],
)
async def test_what_does_not_add_up_is_named(books: Store, database: Database, sql: str, found: Discrepancy) -> None:
    """Each discrepancy has its subject, its field, its value and the expected one."""
    await database.tamper(sql)
    assert found in await books.discrepancies()


async def test_a_credit_without_an_event_is_found(store: Store) -> None:
    """A Result without its event is a discrepancy."""
    await store.open_account("player-1", "EUR", Decimal(0), NOW)
    await store.apply(posting(), NOW, records(exchange()))
    assert await store.discrepancies() == (Discrepancy("transaction acme 'ref-1'", "events", "0", "1"),)
