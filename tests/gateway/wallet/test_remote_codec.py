"""What the operator's wallet may answer, and what is made of it: every row of the table, over a real connection."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from gateway.store.models import Applied, Credit, CreditKind, PostingFault, PostingRefused
from gateway.v1 import wallet_service_pb2 as pb
from gateway.wallet import records
from tests.gateway.wallet.harness import SHORT_TIMEOUTS, RemoteWalletHarness, remote_wallet
from tests.gateway.wallet.journal import NOW, PRIZE, RESULT
from tests.support.wallet import Behaviour, ScriptedWallet, answering, failing, scripted_wallet

REFUSALS = [
    (failing(grpc.StatusCode.NOT_FOUND, "ACCOUNT_UNKNOWN"), PostingFault.ACCOUNT_UNKNOWN, "user_id"),
    (failing(grpc.StatusCode.FAILED_PRECONDITION, "CURRENCY_MISMATCH"), PostingFault.CURRENCY_MISMATCH, "currency"),
    (
        failing(grpc.StatusCode.ALREADY_EXISTS, "REFERENCE_REUSED", metadata={"field": "amount"}),
        PostingFault.REFERENCE_REUSED,
        "amount",
    ),
    (failing(grpc.StatusCode.ALREADY_EXISTS, "REFERENCE_REUSED"), PostingFault.REFERENCE_REUSED, ""),
    (
        failing(grpc.StatusCode.ALREADY_EXISTS, "REFERENCE_REUSED", metadata={"field": "<b>ours</b>"}),
        PostingFault.REFERENCE_REUSED,
        "",
    ),
    (
        failing(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", violations=("round_id", "amount")),
        PostingFault.FIELD_INVALID,
        "round_id",
    ),
    (failing(grpc.StatusCode.INVALID_ARGUMENT, violations=("game_id",)), PostingFault.FIELD_INVALID, "game_id"),
    (failing(grpc.StatusCode.INVALID_ARGUMENT), PostingFault.FIELD_INVALID, ""),
]

FINAL = [
    (failing(grpc.StatusCode.NOT_FOUND), "ErrorInfo"),
    (failing(grpc.StatusCode.NOT_FOUND, "NO_ROUTE"), "ErrorInfo"),
    (failing(grpc.StatusCode.NOT_FOUND, "CURRENCY_MISMATCH"), "ErrorInfo"),
    (failing(grpc.StatusCode.FAILED_PRECONDITION), "ErrorInfo"),
    (failing(grpc.StatusCode.FAILED_PRECONDITION, "ACCOUNT_UNKNOWN"), "ErrorInfo"),
    (failing(grpc.StatusCode.ALREADY_EXISTS), "ErrorInfo"),
    (failing(grpc.StatusCode.ALREADY_EXISTS, "ACCOUNT_EXISTS"), "ErrorInfo"),
    (failing(grpc.StatusCode.OUT_OF_RANGE), "ErrorInfo"),
    (failing(grpc.StatusCode.DATA_LOSS), "ErrorInfo"),
    (failing(grpc.StatusCode.UNIMPLEMENTED), "wallet.target"),
    (failing(grpc.StatusCode.UNAUTHENTICATED), "wallet.tls"),
    (failing(grpc.StatusCode.PERMISSION_DENIED), "wallet.tls"),
]
"""Answers that the next attempt would get again, and what the log says to fix."""

AGAIN = [
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
]


@dataclass(frozen=True, slots=True)
class Harness:
    """A gateway's side, and the wallet that it asks."""

    gateway: RemoteWalletHarness
    wallet: ScriptedWallet


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[Harness]:
    async with scripted_wallet() as wallet, remote_wallet(tmp_path, wallet.target, **SHORT_TIMEOUTS) as gateway:
        yield Harness(gateway, wallet)


async def test_all_of_a_result_reaches_the_wallet(harness: Harness) -> None:
    """The wallet is asked with the provider, the reference, and every field of the Result, amounts in plain digits."""
    whole = replace(
        RESULT,
        amount=Decimal("1E+2"),
        promo=PRIZE,
        bonus_code="bonus",
        promo_campaign_id="campaign",
        promo_campaign_type="R",
    )
    await harness.gateway.credit(whole)
    assert harness.wallet.received == [
        pb.ApplyResultRequest(
            provider="monaco",
            reference=RESULT.reference,
            user_id="421",
            currency="USD",
            amount="100",
            round_id="5103188801",
            game_id="Im_60_tumblefortune",
            promo_amount="2.5",
            promo_reference="prize-1",
            session_id=RESULT.session_id,
            bonus_code="bonus",
            promo_campaign_id="campaign",
            promo_campaign_type="R",
        )
    ]
    assert {name.name for name in pb.ApplyResultRequest.DESCRIPTOR.fields} == {
        name.name for name, _ in harness.wallet.received[0].ListFields()
    }


@pytest.mark.parametrize("bonus", [None, "0", "7.50"])
@pytest.mark.parametrize("replayed", [False, True])
async def test_a_credit_is_stored_with_its_records(harness: Harness, bonus: str | None, replayed: bool) -> None:
    """A credit keeps transaction, event, and a line for each delivery, also where the wallet had credited before."""
    harness.wallet.behaviour = answering(bonus=bonus or "", replayed=replayed)
    applied = Applied("wallet-1", "USD", Decimal(110), replayed, Decimal(bonus) if bonus else None)
    for _ in range(2):
        assert await harness.gateway.credit() == applied
    posting = records.posting("monaco", RESULT)
    kept = await harness.gateway.store.credit("monaco", RESULT.reference)
    assert kept == Credit(CreditKind.RESULT, "wallet-1", posting, NOW)
    (event,) = await harness.gateway.events()
    assert (event.type, event.reference, event.provider) == ("RESULT_CREDITED", RESULT.reference, "monaco")
    assert [line.verdict for line in await harness.gateway.store.exchanges()] == ["CREDITED"] * 2
    assert not await harness.gateway.items()


@pytest.mark.parametrize(("behaviour", "fault", "field"), REFUSALS)
async def test_a_refusal_is_known_by_code_and_reason(
    harness: Harness, behaviour: Behaviour, fault: PostingFault, field: str
) -> None:
    """Each refusal of the table is returned as such, whatever its domain; it makes one item and one event."""
    harness.wallet.behaviour = behaviour
    for _ in range(2):
        assert await harness.gateway.credit() == PostingRefused(fault, field)
    assert len(harness.wallet.received) == 2
    (item,) = await harness.gateway.items()
    assert (item.fault, item.field, item.kind) == (fault, field, "RESULT_REFUSED")
    assert [event.type for event in await harness.gateway.events()] == ["RESULT_REFUSED"]
    assert await harness.gateway.store.credit("monaco", RESULT.reference) is None

    harness.wallet.behaviour = answering()
    assert isinstance(await harness.gateway.credit(), Applied)
    assert not await harness.gateway.items()


async def test_what_the_wallet_says_of_a_field_is_logged(harness: Harness) -> None:
    """Nobody but the wallet knows why it takes a field for invalid: its words are in the log."""
    harness.wallet.behaviour = failing(grpc.StatusCode.INVALID_ARGUMENT, words="round_id\n has letters" + "!" * 1000)
    with structlog.testing.capture_logs() as logged:
        await harness.gateway.credit()
    (line,) = logged
    assert line["log_level"] == "warning"
    assert line["error"].startswith("INVALID_ARGUMENT round_id  has letters!")
    assert len(line["error"]) < 400


@pytest.mark.parametrize(("behaviour", "advice"), FINAL)
async def test_any_other_status_leaves_the_outcome_unknown(harness: Harness, behaviour: Behaviour, advice: str) -> None:
    """A status that is no refusal of the wallet's own is not taken for one, nor asked again; it is logged loudly."""
    harness.wallet.behaviour = behaviour
    with structlog.testing.capture_logs() as logged:
        said = await harness.gateway.fails()
    assert "in the wallet's words" in said
    assert len(harness.wallet.received) == 1
    (line,) = logged
    assert line["log_level"] == "error"
    assert advice in line["error"]
    assert not await harness.gateway.events()
    assert not await harness.gateway.store.exchanges()


def of_another_code() -> bytes:
    """Details that would be a refusal, of another code than the status that they come with."""
    packed = AnyMessage()
    packed.Pack(ErrorInfo(reason="REFERENCE_REUSED"))
    return bytes(Status(code=grpc.StatusCode.NOT_FOUND.value[0], details=[packed]).SerializeToString())


@pytest.mark.parametrize(
    "details",
    [b"\xff\xff", b"\x08\x06\x1a\x03\x0a\x01\xff", of_another_code()],
    ids=["no message", "no detail", "of another code"],
)
async def test_details_that_do_not_fit_are_none(harness: Harness, details: bytes) -> None:
    """Details that cannot be read, or are of another code than the status, decide nothing."""

    async def behave(request: pb.ApplyResultRequest, context: Any) -> pb.ApplyResultResponse:
        await context.abort(
            grpc.StatusCode.ALREADY_EXISTS, "reused", trailing_metadata=(("grpc-status-details-bin", details),)
        )
        raise AssertionError("unreachable")

    harness.wallet.behaviour = behave
    assert "ALREADY_EXISTS" in await harness.gateway.fails()


@pytest.mark.parametrize("code", AGAIN)
@pytest.mark.parametrize("reason", ["", "ACCOUNT_UNKNOWN"])
async def test_what_may_pass_is_asked_again(harness: Harness, code: grpc.StatusCode, reason: str) -> None:
    """Codes of temporary failures are retried within the credit timeout, and then the outcome is unknown."""
    harness.wallet.behaviour = failing(code, reason)
    assert code.name in await harness.gateway.fails()
    assert len(harness.wallet.received) > 2
    assert len({request.SerializeToString() for request in harness.wallet.received}) == 1


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"transaction_id": ""}, "transaction_id"),
        ({"transaction_id": "t" * 256}, "transaction_id"),
        ({"transaction_id": "t\n1"}, "transaction_id"),
        ({"currency": ""}, "currency"),
        ({"currency": "usd"}, "currency"),
        ({"currency": "EUR"}, "currency"),
        ({"cash": ""}, "cash"),
        ({"cash": "-1"}, "cash"),
        ({"cash": "1e2"}, "cash"),
        ({"cash": "01"}, "cash"),
        ({"cash": "NaN"}, "cash"),
        ({"cash": "1,5"}, "cash"),
        ({"cash": "\u0661"}, "cash"),
        ({"cash": "1" * 33}, "cash"),
        ({"cash": "0." + "1" * 19}, "cash"),
        ({"bonus": "-1"}, "bonus"),
        ({"bonus": "all of it"}, "bonus"),
    ],
)
async def test_an_answer_with_a_field_at_fault_is_not_believed(
    harness: Harness, fields: dict[str, str], named: str
) -> None:
    """A credit whose answer is malformed is an unknown outcome that names the field; nothing of it is stored."""
    harness.wallet.behaviour = answering(**fields)
    with structlog.testing.capture_logs() as logged:
        said = await harness.gateway.fails()
    assert f"malformed: {named} is" in said
    assert [line["log_level"] for line in logged] == ["error"]
    assert len(harness.wallet.received) == 1
    assert not await harness.gateway.events()
    assert await harness.gateway.store.credit("monaco", RESULT.reference) is None


@pytest.mark.parametrize("answer", [b"garbage", b"\x0a\x01\xff", b"\x0a\x05t"])
async def test_an_answer_that_is_another_message_is_not_believed(harness: Harness, answer: bytes) -> None:
    """Bytes that are no ApplyResultResponse are an unknown outcome, and no traceback."""

    async def behave(request: pb.ApplyResultRequest, context: Any) -> bytes:
        return answer

    harness.wallet.behaviour = behave
    assert "malformed: it is no ApplyResultResponse" in await harness.gateway.fails()


async def test_an_answer_that_is_too_large_is_not_read(harness: Harness) -> None:
    """An answer of a size that no answer has is refused before it is in memory, whatever is in it."""

    async def behave(request: pb.ApplyResultRequest, context: Any) -> bytes:
        good = pb.ApplyResultResponse(transaction_id="wallet-1", currency="USD", cash="110").SerializeToString()
        of_a_later_release = b"\xfa\x01\x80\x80\x40" + bytes(2**20)
        return good + of_a_later_release

    harness.wallet.behaviour = behave
    assert "larger than max" in await harness.gateway.fails()
