"""Callbacks with a remote wallet: the provider's reply, and the records."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog

from adapters.contract import Result
from gateway.store.base import RecordsT, Store
from gateway.store.ceilings import Ceiling
from gateway.store.reconciliation import ItemFilter, ReconciliationKind
from gateway.wallet.base import PostingOutcome
from gateway.wallet.channel import WalletAddress
from gateway.wallet.remote import RemoteWallet
from tests.gateway.callbacks.harness import (
    MONACO,
    SEND_AGAIN,
    SUCCESS,
    CallbackEndpoint,
    HarnessOptions,
    clock,
    open_harness,
)
from tests.gateway.callbacks.wallet_harness import WalletHarness, open_wallet_harness
from tests.support.results import RESULT
from tests.support.wallet import Behaviour, answering, failing, hanging, in_turn, scripted_wallet

REFUSED = [
    (failing(grpc.StatusCode.NOT_FOUND, "ACCOUNT_UNKNOWN"), 62, "Player not found"),
    (failing(grpc.StatusCode.FAILED_PRECONDITION, "CURRENCY_MISMATCH"), 52, "Currency is not the player's"),
    (
        failing(grpc.StatusCode.ALREADY_EXISTS, "REFERENCE_REUSED", metadata={"field": "round_id"}),
        999,
        "Reference already used with another 'roundId'",
    ),
    (failing(grpc.StatusCode.ALREADY_EXISTS, "REFERENCE_REUSED"), 999, "Reference already used"),
    (
        failing(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", violations=("amount",)),
        59,
        "Invalid amount in 'amount'",
    ),
    (failing(grpc.StatusCode.INVALID_ARGUMENT), 59, "Invalid amount"),
]

UNKNOWN = {
    "a proxy's NOT_FOUND": failing(grpc.StatusCode.NOT_FOUND),
    "no such service": failing(grpc.StatusCode.UNIMPLEMENTED),
    "unauthenticated": failing(grpc.StatusCode.UNAUTHENTICATED),
    "a bare ALREADY_EXISTS": failing(grpc.StatusCode.ALREADY_EXISTS),
    "a bug of the wallet": failing(grpc.StatusCode.UNKNOWN),
    "data lost": failing(grpc.StatusCode.DATA_LOSS),
    "overload": failing(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=60),
    "cancelled by the wallet": failing(grpc.StatusCode.CANCELLED),
    "hanging": hanging,
    "another currency": answering(currency="EUR"),
    "no transaction": answering(transaction_id=""),
    "no balance": answering(cash=""),
}


@pytest.mark.parametrize(("bonus", "bonus_reply"), [("", {}), ("2.5", {"bonus": Decimal("2.5")})])
async def test_the_reply_has_the_wallet_s_transaction_and_balances(
    wallet_harness: WalletHarness, bonus: str, bonus_reply: dict[str, Decimal]
) -> None:
    """A credit is answered with the wallet's transaction and balances, a repetition with the same, with one event."""
    wallet_harness.wallet.behaviour = in_turn(answering(bonus=bonus), answering(bonus=bonus, replayed=True))
    credited = {"transactionId": "wallet-1", "currency": "USD", "cash": Decimal(110), **bonus_reply, "error": 0}
    for _ in range(3):
        assert await wallet_harness.deliver() == {**credited, "description": "Success"}
    assert await wallet_harness.event_types() == ["RESULT_CREDITED"]
    assert [line.verdict for line in await wallet_harness.callbacks.journal()] == ["CREDITED"] * 3
    kept = await wallet_harness.callbacks.store.credit("monaco", RESULT["reference"])
    assert kept is not None
    assert kept.transaction_id == "wallet-1"
    assert not await wallet_harness.callbacks.items()


@pytest.mark.parametrize(("behaviour", "code", "description"), REFUSED)
async def test_the_wallet_s_refusals_are_codes_of_the_dialect(
    tmp_path: Path, behaviour: Behaviour, code: int, description: str
) -> None:
    """Each refusal of the table is a code of the dialect, an item and an event, and can be credited later."""
    async with open_wallet_harness(tmp_path) as wallet_harness:
        wallet_harness.wallet.behaviour = behaviour
        for _ in range(2):
            assert await wallet_harness.deliver() == {"error": code, "description": description}
        (item,) = await wallet_harness.callbacks.items()
        first, _ = await wallet_harness.callbacks.journal()
        assert (item.kind, item.exchange_id, item.detail) == ("RESULT_REFUSED", first.id, first.detail)
        assert [event.type for event in await wallet_harness.callbacks.events()] == ["RESULT_REFUSED"]
        wallet_harness.wallet.behaviour = answering()
        assert (await wallet_harness.deliver())["error"] == 0
        assert not await wallet_harness.callbacks.items()


@pytest.mark.parametrize("behaviour", UNKNOWN.values(), ids=UNKNOWN)
async def test_any_other_answer_of_the_wallet_is_998(tmp_path: Path, behaviour: Behaviour) -> None:
    """A status or an answer outside the table is answered 998 and leaves an item."""
    async with open_wallet_harness(tmp_path, attempt_timeout_s=0.2, credit_timeout_s=0.3) as wallet_harness:
        wallet_harness.wallet.behaviour = behaviour
        assert await wallet_harness.deliver() == SEND_AGAIN
        (item,) = await wallet_harness.callbacks.items()
        assert item.kind == "RESULT_UNKNOWN"
        assert not await wallet_harness.callbacks.events()


async def test_an_unknown_outcome_is_an_item_until_it_is_known(wallet_harness: WalletHarness) -> None:
    """An unknown outcome is a line and one item without an event, which the credit resolves."""
    wallet_harness.wallet.behaviour = hanging
    for _ in range(2):
        assert await wallet_harness.deliver() == SEND_AGAIN
    first, second = await wallet_harness.callbacks.journal()
    assert [first.verdict, second.verdict] == ["TRY_AGAIN"] * 2
    assert "the operator's wallet at dns:///127.0.0.1" in first.detail
    (item,) = await wallet_harness.callbacks.items()
    assert (item.kind, item.fault, item.field) == ("RESULT_UNKNOWN", "OUTCOME_UNKNOWN", "")
    assert (item.reference, item.user_id, item.exchange_id) == (RESULT["reference"], "421", first.id)
    assert item.detail == first.detail
    assert not await wallet_harness.callbacks.events()

    wallet_harness.wallet.behaviour = answering(replayed=True)
    assert (await wallet_harness.deliver())["error"] == 0
    assert await wallet_harness.event_types() == ["RESULT_CREDITED"]
    assert not await wallet_harness.callbacks.items()
    (settled,) = (await wallet_harness.callbacks.store.items(ItemFilter(resolved=True))).entries
    assert settled.id == item.id


async def test_a_result_that_was_not_sent_leaves_no_item(tmp_path: Path) -> None:
    """A Result beyond the limit of concurrent credits is 998 with a line, and no item: its outcome is known."""
    async with open_wallet_harness(tmp_path, max_in_flight=0) as wallet_harness:
        assert await wallet_harness.deliver() == SEND_AGAIN
        assert len(await wallet_harness.callbacks.journal()) == 1
        assert not await wallet_harness.callbacks.items()


async def test_five_concurrent_deliveries_are_one_event(
    wallet_harness: WalletHarness, endpoint: CallbackEndpoint
) -> None:
    """Five concurrent deliveries of one Result have one event and the same reply."""
    replies = await asyncio.gather(
        *(wallet_harness.callbacks.deliver(endpoint.path("Result"), RESULT) for _ in range(5))
    )
    assert {each.body for each in replies} == {replies[0].body}
    assert replies[0].json["error"] == 0
    assert await wallet_harness.event_types() == ["RESULT_CREDITED"]
    assert [line.verdict for line in await wallet_harness.callbacks.journal()] == ["CREDITED"] * 5


async def test_an_expiry_does_not_wait_for_the_wallet(tmp_path: Path) -> None:
    """A wallet that hangs does not delay a SessionExpired."""
    async with open_wallet_harness(tmp_path, credit_timeout_s=30, attempt_timeout_s=30) as wallet_harness:
        wallet_harness.wallet.behaviour = hanging
        delivery = asyncio.create_task(wallet_harness.deliver())
        await wallet_harness.wallet.arrived.wait()
        expired = {"providerId": "p", "sessionId": "s", "userId": "u"}
        assert (await wallet_harness.callbacks.deliver(MONACO.path("SessionExpired"), expired)).json == SUCCESS
        delivery.cancel()


@pytest.mark.parametrize(
    ("behaviour", "body", "error", "item"),
    [
        (
            answering(transaction_id="wallet-2", cash="120"),
            RESULT,
            0,
            (ReconciliationKind.RESULT_CONTRADICTED, "CREDITED_TWICE", "transaction_id"),
        ),
        (
            answering(replayed=True),
            {**RESULT, "amount": 999},
            999,
            (ReconciliationKind.RESULT_REFUSED, "REFERENCE_REUSED", "amount"),
        ),
    ],
    ids=["another transaction", "another content"],
)
async def test_a_wallet_that_contradicts_itself_leaves_an_item(
    wallet_harness: WalletHarness, behaviour: Behaviour, body: Any, error: int, item: tuple[str, str, str]
) -> None:
    """The reply has the first transaction, or names the difference; an item reports the contradiction."""
    first = await wallet_harness.deliver()
    wallet_harness.wallet.behaviour = behaviour
    reply = await wallet_harness.deliver(body)
    assert (reply["error"], reply.get("transactionId", "")) == (error, first["transactionId"] if error == 0 else "")
    assert [(each.kind, each.fault, each.field) for each in await wallet_harness.callbacks.items()] == [item]
    wallet_harness.wallet.behaviour = answering(replayed=True)
    assert (await wallet_harness.deliver())["error"] == 0
    assert len(await wallet_harness.callbacks.items()) == 1


async def test_a_bug_before_the_store_is_998_and_the_next_delivery_is_credited(tmp_path: Path) -> None:
    """If the records of a credit cannot be made, the reply is 998, and the next delivery gets the wallet's
    transaction.
    """

    class BuggyWallet(RemoteWallet):
        """Its records cannot be made until `fixed`."""

        fixed = False

        async def credit(
            self,
            provider: str,
            result: Result,
            records_of: Callable[[datetime, PostingOutcome], RecordsT],
            ceiling: Ceiling | None = None,
        ) -> RecordsT:
            def broken(ended_at: datetime, outcome: PostingOutcome) -> RecordsT:
                if not self.fixed:
                    raise LookupError
                return records_of(ended_at, outcome)

            return await super().credit(provider, result, broken, ceiling)

    async with scripted_wallet() as scripted:

        def wallet(store: Store) -> BuggyWallet:
            return BuggyWallet(WalletAddress(scripted.target), store, clock)

        async with open_harness(tmp_path, HarnessOptions(wallet=wallet)) as harness:
            with structlog.testing.capture_logs() as logged:
                assert (await harness.deliver(MONACO.path("Result"), RESULT)).json == SEND_AGAIN
            assert logged[0]["event"] == "gateway error"
            assert not await harness.events()
            BuggyWallet.fixed = True
            assert (await harness.deliver(MONACO.path("Result"), RESULT)).json["transactionId"] == "wallet-1"
            assert len(await harness.events()) == 1


async def test_no_secret_of_the_callback_reaches_the_wallet_or_the_log(tmp_path: Path) -> None:
    """The callback key is not sent to the wallet, and a key in the wallet's error text is masked."""
    async with open_wallet_harness(tmp_path, attempt_timeout_s=1.0, credit_timeout_s=1.0) as wallet_harness:
        wallet_harness.wallet.behaviour = failing(grpc.StatusCode.UNAVAILABLE, words=f"the key is {MONACO.key}")
        with structlog.testing.capture_logs() as logged:
            assert await wallet_harness.deliver() == SEND_AGAIN
        assert all(MONACO.key.encode() not in request.SerializeToString() for request in wallet_harness.wallet.received)
        kept = repr(await wallet_harness.callbacks.journal()) + repr(await wallet_harness.callbacks.items())
        assert MONACO.key not in kept + repr(logged)
        assert "the key is ***" in kept
