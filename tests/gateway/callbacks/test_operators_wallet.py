"""Callbacks where the operator's own wallet credits: what the provider is answered, and what is kept of it."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any

import asyncpg
import grpc
import pytest
import structlog

from adapters.contract import Result
from gateway.callbacks.handler import TIME_LIMIT_S
from gateway.store.interface import Store
from gateway.store.records import Exchange, ItemFilter, ItemKind
from gateway.v1 import wallet_service_pb2 as pb
from gateway.wallet.connection import WalletAddress
from gateway.wallet.interface import PostingOutcome
from gateway.wallet.operators import OperatorsWallet
from tests.gateway.callbacks.house import (
    MONACO,
    SEND_AGAIN,
    SUCCESS,
    Doorway,
    Furnishing,
    House,
    clock,
    open_house,
)
from tests.support.results import RESULT
from tests.support.wallet import Behaviour, ScriptedWallet, answering, failing, hanging, in_turn, scripted_wallet

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


@dataclass(frozen=True, slots=True)
class Scene:
    """A house, and the wallet behind it."""

    house: House
    wallet: ScriptedWallet
    operators: OperatorsWallet

    async def told(self) -> list[str]:
        """The types of all events, once there are any: PostgreSQL's are numbered after their commit."""
        seen = -1
        async with asyncio.timeout(5):
            while not (events := await self.house.events()):
                seen = await self.house.store.events_committed(seen)
        return [event.type for event in events]

    async def deliver(self, body: Any = RESULT) -> Any:
        said = await self.house.deliver(MONACO.path("Result"), body)
        assert said.status == 200
        return said.json


@asynccontextmanager
async def a_scene(
    folder: Path, *, url: str = "", time_limit_s: float = TIME_LIMIT_S, **patience: Any
) -> AsyncIterator[Scene]:
    made: list[OperatorsWallet] = []
    async with scripted_wallet() as scripted:

        def wallet(store: Store) -> OperatorsWallet:
            made.append(OperatorsWallet(WalletAddress(scripted.target), store, clock, **patience))
            return made[0]

        furnishing = Furnishing(url=url, wallet=wallet, time_limit_s=time_limit_s, busy_seconds=60)
        async with open_house(folder, furnishing) as house:
            await made[0].start()
            try:
                yield Scene(house, scripted, made[0])
            finally:
                await made[0].close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Each engine in turn; '' is the SQLite file of the house."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("emptied_url")
    return url


@pytest.fixture
async def scene(tmp_path: Path, url: str) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path, url=url, attempt_timeout_s=0.2, patience_s=0.4) as scene:
        yield scene


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
    async with a_scene(tmp_path, attempt_timeout_s=0.2, patience_s=0.3) as scene:
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
    async with a_scene(tmp_path, most_at_once=0) as scene:
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
    async with a_scene(tmp_path, patience_s=30, attempt_timeout_s=30) as scene:
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
            (ItemKind.RESULT_CONTRADICTED, "CREDITED_TWICE", "transaction_id"),
        ),
        (
            answering(replayed=True),
            {**RESULT, "amount": 999},
            999,
            (ItemKind.RESULT_REFUSED, "REFERENCE_REUSED", "amount"),
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


async def test_a_wallet_that_hangs_is_answered_within_four_seconds(tmp_path: Path) -> None:
    """With the usual limits a wallet that does not answer costs 998 within 4 s, with its line and its item."""
    async with a_scene(tmp_path) as scene:
        scene.wallet.behaviour = hanging
        began = monotonic()
        assert await scene.deliver() == SEND_AGAIN
        assert 2.5 < monotonic() - began < 4
        assert len(await scene.house.journal()) == len(await scene.house.items()) == 1


async def test_an_outcome_that_nobody_waited_for_is_for_a_person(tmp_path: Path) -> None:
    """Where the time is over while the wallet is asked, as after a body that came slowly, it leaves line and item."""

    async def dripping() -> AsyncIterator[bytes]:
        body = json.dumps(RESULT).encode()
        yield body[:9]
        await asyncio.sleep(0.3)
        yield body[9:]

    async with a_scene(tmp_path, time_limit_s=0.5, patience_s=0.4) as scene:
        scene.wallet.behaviour = hanging
        assert await scene.deliver(dripping()) == SEND_AGAIN
        await scene.house.store.ping()  # written behind it
        items = await scene.house.items()
        assert [(item.kind, item.reference) for item in items] == [(ItemKind.RESULT_UNKNOWN, RESULT["reference"])]
        assert [(line.id, line.verdict) for line in await scene.house.journal()] == [
            (items[0].exchange_id, "TRY_AGAIN")
        ]
        scene.wallet.behaviour = answering()
        assert (await scene.deliver())["error"] == 0
        assert not await scene.house.items()


@asynccontextmanager
async def held_up(house: House, url: str) -> AsyncIterator[None]:
    """Somebody else has the database."""
    if not url:
        other = house.lock()
        yield
        other.close()
        return
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE wallet_credits, exchanges")
            yield
    finally:
        await connection.close()


async def test_a_store_that_is_held_up_after_the_credit_is_mended_by_the_next_delivery(
    tmp_path: Path, url: str
) -> None:
    """Where the wallet has credited and the store takes nothing, the provider sends again, and gets the one answer."""
    async with a_scene(tmp_path, url=url, time_limit_s=0.5) as scene:
        async with held_up(scene.house, url):
            assert await scene.deliver() == SEND_AGAIN
        assert (await scene.deliver())["transactionId"] == "wallet-1"
        assert await scene.told() == ["RESULT_CREDITED"]


async def test_an_outcome_that_comes_too_late_is_journalled_as_it_was_told(tmp_path: Path) -> None:
    """Where the store takes a credit after the provider's time, the line says that he was told to send again."""
    async with a_scene(tmp_path, time_limit_s=0.5) as scene:
        async with held_up(scene.house, ""):
            assert await scene.deliver() == SEND_AGAIN
        assert (await scene.deliver())["error"] == 0
        late, again = await scene.house.journal()
        assert (late.verdict, json.loads(late.reply.body)) == ("TRY_AGAIN", SEND_AGAIN)
        assert "CREDITED" in late.detail
        assert again.verdict == "CREDITED"


async def test_a_limit_shorter_than_the_wallets_patience_leaves_no_task(tmp_path: Path) -> None:
    """A delivery whose time is over ends its call to the wallet; what that committed, the next delivery is told."""
    async with a_scene(tmp_path, time_limit_s=0.2, patience_s=30, attempt_timeout_s=30) as scene:
        assert (await scene.deliver())["error"] == 0
        gone = asyncio.Event()

        async def noticing(request: pb.ApplyResultRequest, context: Any) -> bytes:
            try:
                return await hanging(request, context)
            finally:
                gone.set()

        scene.wallet.behaviour = noticing
        before = asyncio.all_tasks()
        assert await scene.deliver() == SEND_AGAIN
        await asyncio.wait_for(gone.wait(), 5)
        # The scripted wallet lives on this loop too: what it waits for its next call with is not ours.
        ours = [task for task in asyncio.all_tasks() - before if "AioServer" not in repr(task)]
        if ours:
            await asyncio.wait(ours, timeout=5)
        assert not [task for task in ours if not task.done()]
        scene.wallet.behaviour = answering(replayed=True)
        assert (await scene.deliver())["transactionId"] == "wallet-1"
        assert len(await scene.house.events()) == 1


async def test_a_wallet_that_hangs_costs_no_memory(tmp_path: Path) -> None:
    """Three hundred deliveries that come to nothing leave neither tasks nor memory behind."""
    async with a_scene(tmp_path, attempt_timeout_s=0.05, patience_s=0.15) as scene:
        scene.wallet.behaviour = hanging

        async def fifty(name: str) -> None:
            bodies = [{**RESULT, "reference": f"{name}-{number}"} for number in range(50)]
            assert await asyncio.gather(*map(scene.deliver, bodies)) == [SEND_AGAIN] * 50
            scene.wallet.received.clear()
            gc.collect()

        await fifty("first")
        tasks = len(asyncio.all_tasks())
        tracemalloc.start()
        try:
            await fifty("warm")
            before, _ = tracemalloc.get_traced_memory()
            for round_ in range(5):
                await fifty(f"round-{round_}")
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(asyncio.all_tasks()) <= tasks + 2
        # One delivery that stayed, with its task, its call and its body, would be ten times as much.
        assert after - before < 250 * 2000, f"{after - before} bytes"


async def test_a_bug_on_the_way_to_the_store_is_998_and_mended_by_the_next_delivery(tmp_path: Path) -> None:
    """Where the line of a credit cannot be made, the provider sends again, and the wallet says what it did."""

    class Speechless(OperatorsWallet):
        """Ours, with a bug that comes once."""

        spoken = False

        async def credit(
            self, provider: str, result: Result, narrate: Callable[[PostingOutcome], Exchange]
        ) -> PostingOutcome:
            def stammer(outcome: PostingOutcome) -> Exchange:
                if not self.spoken:
                    self.spoken = True
                    raise LookupError
                return narrate(outcome)

            return await super().credit(provider, result, stammer)

    async with scripted_wallet() as scripted:
        made: list[Speechless] = []

        def wallet(store: Store) -> Speechless:
            made.append(Speechless(WalletAddress(scripted.target), store, clock))
            return made[0]

        async with open_house(tmp_path, Furnishing(wallet=wallet)) as house:
            await made[0].start()
            with structlog.testing.capture_logs() as logged:
                assert (await house.deliver(MONACO.path("Result"), RESULT)).json == SEND_AGAIN
            assert logged[0]["event"] == "gateway error"
            assert not await house.events()
            assert (await house.deliver(MONACO.path("Result"), RESULT)).json["transactionId"] == "wallet-1"
            assert len(await house.events()) == 1
            await made[0].close()


async def test_no_secret_of_the_callback_reaches_the_wallet_or_the_log(tmp_path: Path) -> None:
    """What came to authenticate a caller is none of the wallet's business, and a wallet's words are masked."""
    async with a_scene(tmp_path, attempt_timeout_s=0.2, patience_s=0.2) as scene:
        scene.wallet.behaviour = failing(grpc.StatusCode.UNAVAILABLE, words=f"the key is {MONACO.key}")
        with structlog.testing.capture_logs() as logged:
            assert await scene.deliver() == SEND_AGAIN
        assert all(MONACO.key.encode() not in request.SerializeToString() for request in scene.wallet.received)
        kept = repr(await scene.house.journal()) + repr(await scene.house.items())
        assert MONACO.key not in kept + repr(logged)
        assert "the key is ***" in kept
