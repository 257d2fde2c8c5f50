"""Callbacks where the operator's own wallet credits: what the provider is answered, and what is kept of it."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog

from adapters.contract import Result
from gateway.store.base import RecordsT, Store
from gateway.store.models import ItemFilter, ReconciliationKind
from gateway.wallet.base import PostingOutcome
from gateway.wallet.channel import WalletAddress
from gateway.wallet.remote import RemoteWallet
from tests.gateway.callbacks.clients import Scene, a_scene
from tests.gateway.callbacks.harness import (
    MONACO,
    SEND_AGAIN,
    SUCCESS,
    Doorway,
    Furnishing,
    clock,
    open_house,
)
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
    "not known there": failing(grpc.StatusCode.UNAUTHENTICATED),
    "a bare ALREADY_EXISTS": failing(grpc.StatusCode.ALREADY_EXISTS),
    "a bug there": failing(grpc.StatusCode.UNKNOWN),
    "data lost": failing(grpc.StatusCode.DATA_LOSS),
    "overload": failing(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=60),
    "cancelled there": failing(grpc.StatusCode.CANCELLED),
    "hanging": hanging,
    "another currency": answering(currency="EUR"),
    "no transaction": answering(transaction_id=""),
    "no balance": answering(cash=""),
}


@pytest.mark.parametrize(("bonus", "told"), [("", {}), ("2.5", {"bonus": Decimal("2.5")})])
async def test_the_wallets_answer_is_the_providers(scene: Scene, bonus: str, told: dict[str, Decimal]) -> None:
    """A credit is answered with the wallet's transaction and balances, the same again with the same, and told once."""
    scene.wallet.behaviour = in_turn(answering(bonus=bonus), answering(bonus=bonus, replayed=True))
    credited = {"transactionId": "wallet-1", "currency": "USD", "cash": Decimal(110), **told, "error": 0}
    for _ in range(3):
        assert await scene.deliver() == {**credited, "description": "Success"}
    assert await scene.told() == ["RESULT_CREDITED"]
    assert [line.verdict for line in await scene.house.journal()] == ["CREDITED"] * 3
    kept = await scene.house.store.credit("monaco", RESULT["reference"])
    assert kept is not None
    assert kept.transaction_id == "wallet-1"
    assert not await scene.house.items()


@pytest.mark.parametrize(("behaviour", "code", "description"), REFUSED)
async def test_the_wallets_refusals_are_told_in_the_dialect(
    tmp_path: Path, behaviour: Behaviour, code: int, description: str
) -> None:
    """Each refusal of the table is the dialect's code, an item and an event; what is mended is then credited."""
    async with a_scene(tmp_path) as scene:
        scene.wallet.behaviour = behaviour
        for _ in range(2):
            assert await scene.deliver() == {"error": code, "description": description}
        (item,) = await scene.house.items()
        first, _ = await scene.house.journal()
        assert (item.kind, item.exchange_id, item.detail) == ("RESULT_REFUSED", first.id, first.detail)
        assert [event.type for event in await scene.house.events()] == ["RESULT_REFUSED"]
        scene.wallet.behaviour = answering()
        assert (await scene.deliver())["error"] == 0
        assert not await scene.house.items()


@pytest.mark.parametrize("behaviour", UNKNOWN.values(), ids=UNKNOWN)
async def test_what_is_not_the_wallets_word_is_998(tmp_path: Path, behaviour: Behaviour) -> None:
    """No status and no answer but those of the table is told the provider as anything else than 'send again'."""
    async with a_scene(tmp_path, attempt_timeout_s=0.2, credit_timeout_s=0.3) as scene:
        scene.wallet.behaviour = behaviour
        assert await scene.deliver() == SEND_AGAIN
        (item,) = await scene.house.items()
        assert item.kind == "RESULT_UNKNOWN"
        assert not await scene.house.events()


async def test_an_unknown_outcome_is_an_item_until_it_is_known(scene: Scene) -> None:
    """An outcome that nobody knows is a line, and one item without an event, which the credit resolves."""
    scene.wallet.behaviour = hanging
    for _ in range(2):
        assert await scene.deliver() == SEND_AGAIN
    first, second = await scene.house.journal()
    assert [first.verdict, second.verdict] == ["TRY_AGAIN"] * 2
    assert "the operator's wallet at dns:///127.0.0.1" in first.detail
    (item,) = await scene.house.items()
    assert (item.kind, item.fault, item.field) == ("RESULT_UNKNOWN", "OUTCOME_UNKNOWN", "")
    assert (item.reference, item.user_id, item.exchange_id) == (RESULT["reference"], "421", first.id)
    assert item.detail == first.detail
    assert not await scene.house.events()

    scene.wallet.behaviour = answering(replayed=True)
    assert (await scene.deliver())["error"] == 0
    assert await scene.told() == ["RESULT_CREDITED"]
    assert not await scene.house.items()
    (settled,) = (await scene.house.store.items(ItemFilter(resolved=True))).entries
    assert settled.id == item.id


async def test_what_the_wallet_was_not_asked_is_nobodys_question(tmp_path: Path) -> None:
    """A Result that found no place among those that ask is 998 and a line, and no item: its outcome is known."""
    async with a_scene(tmp_path, max_in_flight=0) as scene:
        assert await scene.deliver() == SEND_AGAIN
        assert len(await scene.house.journal()) == 1
        assert not await scene.house.items()


async def test_five_deliveries_at_once_are_told_once(scene: Scene, door: Doorway) -> None:
    """However many connections bring one Result at one moment, its event is one and its answers are the same."""
    said = await asyncio.gather(*(scene.house.deliver(door.path("Result"), RESULT) for _ in range(5)))
    assert {reply.body for reply in said} == {said[0].body}
    assert said[0].json["error"] == 0
    assert await scene.told() == ["RESULT_CREDITED"]
    assert [line.verdict for line in await scene.house.journal()] == ["CREDITED"] * 5


async def test_other_callbacks_do_without_the_wallet(tmp_path: Path) -> None:
    """A wallet that hangs keeps nobody from telling that a session is over."""
    async with a_scene(tmp_path, credit_timeout_s=30, attempt_timeout_s=30) as scene:
        scene.wallet.behaviour = hanging
        delivery = asyncio.create_task(scene.deliver())
        await scene.wallet.arrived.wait()
        expired = {"providerId": "p", "sessionId": "s", "userId": "u"}
        assert (await scene.house.deliver(MONACO.path("SessionExpired"), expired)).json == SUCCESS
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
async def test_a_wallet_that_contradicts_itself_is_for_a_person(
    scene: Scene, behaviour: Behaviour, body: Any, error: int, item: tuple[str, str, str]
) -> None:
    """The provider is told of the first transaction, or of the difference; a person, that the wallet forgets."""
    first = await scene.deliver()
    scene.wallet.behaviour = behaviour
    said = await scene.deliver(body)
    assert (said["error"], said.get("transactionId", "")) == (error, first["transactionId"] if error == 0 else "")
    assert [(each.kind, each.fault, each.field) for each in await scene.house.items()] == [item]
    scene.wallet.behaviour = answering(replayed=True)
    assert (await scene.deliver())["error"] == 0
    assert len(await scene.house.items()) == 1


async def test_a_bug_on_the_way_to_the_store_is_998_and_mended_by_the_next_delivery(tmp_path: Path) -> None:
    """Where the line of a credit cannot be made, the provider sends again, and the wallet says what it did."""

    class Speechless(RemoteWallet):
        """Ours, with a bug that is there for a while."""

        sound = False

        async def credit(
            self, provider: str, result: Result, records_of: Callable[[PostingOutcome], RecordsT]
        ) -> RecordsT:
            def broken(outcome: PostingOutcome) -> RecordsT:
                if not self.sound:
                    raise LookupError
                return records_of(outcome)

            return await super().credit(provider, result, broken)

    async with scripted_wallet() as scripted:

        def wallet(store: Store) -> Speechless:
            return Speechless(WalletAddress(scripted.target), store, clock)

        async with open_house(tmp_path, Furnishing(wallet=wallet)) as house:
            with structlog.testing.capture_logs() as logged:
                assert (await house.deliver(MONACO.path("Result"), RESULT)).json == SEND_AGAIN
            assert logged[0]["event"] == "gateway error"
            assert not await house.events()
            Speechless.sound = True
            assert (await house.deliver(MONACO.path("Result"), RESULT)).json["transactionId"] == "wallet-1"
            assert len(await house.events()) == 1


async def test_no_secret_of_the_callback_reaches_the_wallet_or_the_log(tmp_path: Path) -> None:
    """What came to authenticate a caller is none of the wallet's business, and a wallet's words are masked."""
    async with a_scene(tmp_path, attempt_timeout_s=0.2, credit_timeout_s=0.2) as scene:
        scene.wallet.behaviour = failing(grpc.StatusCode.UNAVAILABLE, words=f"the key is {MONACO.key}")
        with structlog.testing.capture_logs() as logged:
            assert await scene.deliver() == SEND_AGAIN
        assert all(MONACO.key.encode() not in request.SerializeToString() for request in scene.wallet.received)
        kept = repr(await scene.house.journal()) + repr(await scene.house.items())
        assert MONACO.key not in kept + repr(logged)
        assert "the key is ***" in kept
