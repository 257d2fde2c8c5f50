"""Each row of the table of failures, with a real gRPC server and an HTTP provider."""

import asyncio
import json
from enum import StrEnum
from typing import Any
from uuid import uuid4

import grpc
import pytest

from adapters.contract import RefusalKind
from gateway.outbound.client import ExchangeFault
from gateway.rpc.status import TABLE, ApiReason, status_of
from gateway.sessions.errors import REASON_BY_FAULT, REASON_BY_REFUSAL, GatewayError, Reason
from gateway.store.models import PostingFault
from gateway.v1 import session_service_pb2 as pb
from tests.gateway.rpc.harness import RpcHarness
from tests.support.gateway import locked
from tests.support.provider import Behaviour, answering, answering_after, hanging, resetting

INFO = b'{"info":{"type":"%s","title":"T","message":"M","sessionId":"s"}}'


def test_every_refusal_and_every_exchange_fault_has_a_reason() -> None:
    """The tables from them to reasons are complete."""
    assert set(REASON_BY_REFUSAL) == set(RefusalKind)
    assert set(REASON_BY_FAULT) == set(ExchangeFault)


@pytest.mark.parametrize("table", [Reason, PostingFault, ApiReason])
def test_every_reason_has_a_row(table: type[StrEnum]) -> None:
    """Its Status has the row's code, and is small enough for a trailer."""
    for reason in table:
        status = status_of(GatewayError(reason, "x" * 5000, provider="p" * 5000))
        assert status.code == TABLE[reason].code.value[0]
        assert len(status.SerializeToString()) < 4096


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"user_id": ""}, ("user_id",)),
        ({"provider": ""}, ("provider",)),
        ({"provider": "", "user_id": "", "request_id": "1"}, ("request_id", "provider", "user_id")),
        ({"request_id": "not-a-uuid"}, ("request_id",)),
        ({"request_id": "123e4567e89b42d3a456426614174000"}, ("request_id",)),
        ({"user_id": "u" * 256}, ("user_id",)),
        ({"user_id": "u\n"}, ("user_id",)),
        ({"game_id": "g\x7f"}, ("game_id",)),
        ({"session_id": "s\x00"}, ("session_id",)),
        ({"reason": "r\x1b[31m"}, ("reason",)),
        ({"token": "t" * 4097}, ("token",)),
        ({"device": pb.Device(app_version="1.0")}, ("device.app_version",)),
        ({"device": pb.Device(app_version="01.0.0")}, ("device.app_version",)),
        ({"device": pb.Device(os="o" * 256)}, ("device.os",)),
        ({"provider": "eliab"}, ("session_id",)),
        ({"provider": "eliab", "session_id": "späť"}, ("session_id",)),
        ({"provider": "eliab", "session_id": "s", "token": "to ken"}, ("token",)),
    ],
)
async def test_invalid_fields_are_named(harness: RpcHarness, fields: dict[str, Any], named: tuple[str, ...]) -> None:
    """All fields that are missing, too long or malformed are named in one failure, and nothing is sent."""
    failure = await harness.fails(**fields)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert failure.certainty == "NOT_SENT"
    assert failure.fields == named
    assert all(field in failure.message for field in named)
    assert not harness.provider.received


async def test_an_unknown_provider_is_not_found(harness: RpcHarness) -> None:
    """The message names ListProviders."""
    failure = await harness.fails(provider="nobody")
    assert (failure.code, failure.reason, failure.certainty) == (
        grpc.StatusCode.NOT_FOUND,
        "PROVIDER_UNKNOWN",
        "NOT_SENT",
    )
    assert "ListProviders" in failure.message


@pytest.mark.parametrize(
    "fields",
    [
        {"provider": "kyren", "clear_history": True},
        {"provider": "kyren", "session_id": "s"},
        {"provider": "lucky", "session_id": "s"},
        {"provider": "eliab", "session_id": "s", "game_id": "g"},
        {"provider": "eliab", "session_id": "s", "clear_history": True},
    ],
)
async def test_a_field_that_the_dialect_cannot_express_is_rejected(harness: RpcHarness, fields: dict[str, Any]) -> None:
    """It is UNIMPLEMENTED, and nothing is sent."""
    failure = await harness.fails(**fields)
    assert (failure.code, failure.reason, failure.certainty) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "UNSUPPORTED_BY_PROVIDER",
        "NOT_SENT",
    )
    assert not harness.provider.received


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("provider", "kyren"),
        ("user_id", "another"),
        ("game_id", "another"),
        ("clear_history", True),
        ("reason", "another"),
    ],
)
async def test_a_reused_request_id_is_rejected(harness: RpcHarness, changed: str, value: Any) -> None:
    """The same request_id with other content is ALREADY_EXISTS, naming the field, and nothing is sent."""
    fields: dict[str, Any] = {"request_id": str(uuid4()), "provider": "lucky", "user_id": "u"}
    await harness.gateway.sessions.CloseSession(pb.CloseSessionRequest(**fields))
    failure = await harness.fails(**{**fields, changed: value})
    assert (failure.code, failure.reason, failure.certainty) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
        "NOT_SENT",
    )
    assert failure.fields == (changed,)
    assert failure.metadata["request_id"] == fields["request_id"]
    assert len(harness.provider.received) == 1


async def test_a_refused_connection_is_unreachable(harness: RpcHarness) -> None:
    """Nothing was sent, and the caller may retry."""
    failure = await harness.fails(provider="dead")
    assert (failure.code, failure.reason, failure.certainty, failure.retry) == (
        grpc.StatusCode.UNAVAILABLE,
        "PROVIDER_UNREACHABLE",
        "NOT_SENT",
        True,
    )


async def test_a_private_address_is_not_connected_to(harness: RpcHarness) -> None:
    """A host name that resolves to a loopback address is rejected unless the configuration allows it."""
    failure = await harness.fails(provider="private")
    assert (failure.code, failure.reason, failure.certainty) == (
        grpc.StatusCode.UNAVAILABLE,
        "PROVIDER_UNREACHABLE",
        "NOT_SENT",
    )
    assert "private" in failure.message


@pytest.mark.usefixtures("wide_margins")
async def test_no_answer_in_time_is_a_timeout_before_the_deadline(harness: RpcHarness) -> None:
    """The gateway answers with details before the caller's deadline when a provider hangs."""
    harness.provider.behaviour = hanging
    failure = await harness.fails(timeout_s=2.5)
    assert (failure.code, failure.reason, failure.certainty, failure.retry) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "PROVIDER_TIMEOUT",
        "UNKNOWN",
        True,
    )
    assert failure.metadata["provider"] == "lucky"


async def test_a_connection_lost_after_sending_is_unknown(harness: RpcHarness) -> None:
    """A connection that ends without an answer is PROVIDER_CONNECTION_LOST."""
    harness.provider.behaviour = resetting
    failure = await harness.fails()
    assert (failure.code, failure.reason, failure.certainty) == (
        grpc.StatusCode.UNAVAILABLE,
        "PROVIDER_CONNECTION_LOST",
        "UNKNOWN",
    )


def _dialect(code: object) -> bytes:
    return json.dumps({"error": code, "description": "text"}).encode()


UNAVAILABLE, INTERNAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL
PRECONDITION, NOT_FOUND = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND

ANSWERS: list[tuple[str, Behaviour, grpc.StatusCode, str, str, str]] = [
    ("lucky", answering(429, b""), UNAVAILABLE, "PROVIDER_FAILED", "REFUSED", "429"),
    ("lucky", answering(500, b""), UNAVAILABLE, "PROVIDER_FAILED", "UNKNOWN", "500"),
    ("lucky", answering(503, b"<html>"), UNAVAILABLE, "PROVIDER_FAILED", "UNKNOWN", "503"),
    ("lucky", answering(200, _dialect(997)), UNAVAILABLE, "PROVIDER_FAILED", "UNKNOWN", "997"),
    ("lucky", answering(200, _dialect("998")), UNAVAILABLE, "PROVIDER_FAILED", "UNKNOWN", "998"),
    ("lucky", answering(200, _dialect(999)), INTERNAL, "PROVIDER_FAILED", "UNKNOWN", "999"),
    ("lucky", answering(200, _dialect(54)), PRECONDITION, "PROVIDER_CREDENTIALS_REJECTED", "REFUSED", "54"),
    ("lucky", answering(200, _dialect(401)), PRECONDITION, "PROVIDER_CREDENTIALS_REJECTED", "REFUSED", "401"),
    ("lucky", answering(401, b""), PRECONDITION, "PROVIDER_CREDENTIALS_REJECTED", "REFUSED", "401"),
    ("lucky", answering(403, b"no"), PRECONDITION, "PROVIDER_CREDENTIALS_REJECTED", "REFUSED", "403"),
    *(
        ("lucky", answering(200, _dialect(code)), NOT_FOUND, "USER_UNKNOWN", "REFUSED", str(code))
        for code in (9, 12, 22, 62)
    ),
    ("lucky", answering(200, _dialect(56)), PRECONDITION, "PROVIDER_REFUSED", "REFUSED", "56"),
    ("lucky", answering(400, _dialect(55)), PRECONDITION, "PROVIDER_REFUSED", "REFUSED", "55"),
    ("lucky", answering(200, _dialect(4711)), PRECONDITION, "PROVIDER_REFUSED", "UNKNOWN", "4711"),
    ("lucky", answering(200, b"<html>"), INTERNAL, "PROVIDER_ANSWER_MALFORMED", "UNKNOWN", "200"),
    ("lucky", answering(200, b'{"eroor":0}'), INTERNAL, "PROVIDER_ANSWER_MALFORMED", "UNKNOWN", "200"),
    ("lucky", answering(302, b"", {"Location": "/x"}), INTERNAL, "PROVIDER_ANSWER_MALFORMED", "UNKNOWN", "302"),
    ("lucky", answering(404, b"not found"), INTERNAL, "PROVIDER_ANSWER_MALFORMED", "UNKNOWN", "404"),
    ("lucky", answering(200, b" " * 2_000_000), INTERNAL, "PROVIDER_ANSWER_MALFORMED", "UNKNOWN", ""),
    ("kyren", answering(200, _dialect(54)), PRECONDITION, "PROVIDER_CREDENTIALS_REJECTED", "REFUSED", "54"),
    ("eliab", answering(200, INFO % b"error"), PRECONDITION, "PROVIDER_REFUSED", "UNKNOWN", "error"),
    ("eliab", answering(400, INFO % b"error"), PRECONDITION, "PROVIDER_REFUSED", "REFUSED", "400"),
    ("eliab", answering(401, INFO % b"error"), PRECONDITION, "PROVIDER_CREDENTIALS_REJECTED", "REFUSED", "401"),
    ("eliab", answering(404, b"<html>"), INTERNAL, "PROVIDER_ANSWER_MALFORMED", "UNKNOWN", "404"),
    ("eliab", answering(500, INFO % b"error"), UNAVAILABLE, "PROVIDER_FAILED", "UNKNOWN", "500"),
]


@pytest.mark.parametrize(("provider", "behaviour", "code", "reason", "certainty", "provider_code"), ANSWERS)
async def test_a_providers_answer_becomes_a_status(
    harness: RpcHarness,
    provider: str,
    behaviour: Behaviour,
    code: grpc.StatusCode,
    reason: str,
    certainty: str,
    provider_code: str,
) -> None:
    """A failure has the table's code, reason and certainty, and the provider's code."""
    harness.provider.behaviour = behaviour
    failure = await harness.fails(provider=provider, session_id="s" if provider == "eliab" else "")
    assert (failure.code, failure.reason, failure.certainty) == (code, reason, certainty)
    assert failure.metadata.get("provider_code", "") == provider_code
    assert failure.retry is (code is UNAVAILABLE)


@pytest.mark.parametrize(
    ("provider", "behaviour", "code"),
    [
        ("lucky", answering(200, _dialect(17)), "17"),
        ("eliab", answering(404, INFO % b"error"), "404"),
        ("eliab", answering(410, INFO % b"error"), "410"),
    ],
)
async def test_no_active_session_is_success(
    harness: RpcHarness, provider: str, behaviour: Behaviour, code: str
) -> None:
    """The call succeeds with NO_ACTIVE_SESSION and the provider's code."""
    harness.provider.behaviour = behaviour
    session = "s" if provider == "eliab" else ""
    answer = await harness.gateway.sessions.CloseSession(
        pb.CloseSessionRequest(provider=provider, user_id="u", session_id=session)
    )
    assert answer.outcome == pb.OUTCOME_NO_ACTIVE_SESSION
    assert answer.provider_answer.code == code


@pytest.mark.usefixtures("wide_margins")
async def test_a_store_that_is_down_before_sending_sends_nothing(harness: RpcHarness) -> None:
    """An intent that cannot be stored is STORE_UNAVAILABLE and NOT_SENT."""
    with locked(harness.gateway.database):
        failure = await harness.fails(timeout_s=2.5)
    assert (failure.code, failure.reason, failure.certainty) == (UNAVAILABLE, "STORE_UNAVAILABLE", "NOT_SENT")
    assert not harness.provider.received


async def test_a_store_that_is_down_after_sending_leaves_the_outcome_unknown(harness: RpcHarness) -> None:
    """A success that cannot be stored is UNKNOWN; the same request_id succeeds later."""
    release = asyncio.Event()
    harness.provider.behaviour = answering_after(release)
    request_id = str(uuid4())
    calling = asyncio.create_task(harness.fails(timeout_s=30, request_id=request_id))
    await harness.provider.arrived.wait()
    with locked(harness.gateway.database):
        release.set()
        failure = await calling
    assert (failure.code, failure.reason, failure.certainty) == (UNAVAILABLE, "STORE_UNAVAILABLE", "UNKNOWN")
    again = await harness.gateway.sessions.CloseSession(
        pb.CloseSessionRequest(request_id=request_id, provider="lucky", user_id="tester")
    )
    assert again.outcome == pb.OUTCOME_CLOSED
