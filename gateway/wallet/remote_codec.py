"""The operator's wallet's answers: a credit, a refusal with its cause, or an inconclusive answer.

Only an answer with everything that the contract requires is accepted. A status without its reason may come from a proxy
that does not know the service: it must not cost a player his prize.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from adapters.contract import Result
from gateway.store.models import Applied, PostingFault, PostingRefused
from gateway.v1 import wallet_service_pb2 as pb
from gateway.wallet import formats

MessageT = TypeVar("MessageT", bound=Message)

_DETAILS = "grpc-status-details-bin"
_MAX_DESCRIPTION_LENGTH = 300

_RETRYABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
    }
)
"""Codes of failures that may be temporary. After any other the next attempt would fail the same way."""

_REMEDIES = {
    grpc.StatusCode.UNIMPLEMENTED: "what answers there serves no gateway.v1.WalletService: check wallet.target",
    grpc.StatusCode.UNAUTHENTICATED: "the wallet does not know this gateway: check the certificate in wallet.tls",
    grpc.StatusCode.PERMISSION_DENIED: "the wallet does not let this gateway in: check the certificate in wallet.tls",
}
_REASON_MISSING_REMEDY = (
    "it is no answer of the WalletService: check wallet.target and the proxies in between, and that the wallet sends "
    "an ErrorInfo with the reason"
)
_TLS_REMEDY = (
    "check wallet.tls: ca must be the authority of the wallet's certificate, which names the host of wallet.target; "
    "cert and key are ours, where the wallet requires them; and a wallet without TLS is called without it"
)

_FIELDS = frozenset(field.name for field in pb.ApplyResultRequest.DESCRIPTOR.fields)


@dataclass(frozen=True, slots=True)
class InconclusiveAnswer:
    """An answer that does not say the outcome, or none at all; the wallet may have credited."""

    error: str
    """What happened, without secrets."""
    retryable: bool = False
    """Whether the next attempt may succeed."""
    retry_after_s: float = 0.0
    """How long the wallet asks to wait before it."""
    remedy: str = ""
    """What an operator must fix, where waiting does not help."""

    def __str__(self) -> str:
        return f"{self.error}; {self.remedy}" if self.remedy else self.error


def encode_request(provider: str, result: Result) -> bytes:
    """The ApplyResultRequest of a Result."""
    request = pb.ApplyResultRequest(
        provider=provider,
        reference=result.reference,
        user_id=result.user_id,
        currency=result.currency,
        amount=formats.money_text(result.amount),
        round_id=result.round_id,
        game_id=result.game_id,
        session_id=result.session_id,
        bonus_code=result.bonus_code,
        promo_campaign_id=result.promo_campaign_id,
        promo_campaign_type=result.promo_campaign_type,
    )
    if result.promo is not None:
        request.promo_amount = formats.money_text(result.promo.amount)
        request.promo_reference = result.promo.reference
    return request.SerializeToString()


def decode_response(data: bytes, currency: str) -> Applied | InconclusiveAnswer:
    """The credit in an ApplyResultResponse, where each of its fields is valid."""
    try:
        response = pb.ApplyResultResponse.FromString(data)
    except DecodeError:
        return _malformed("it is no ApplyResultResponse")
    transaction_id = response.transaction_id
    if not transaction_id or len(transaction_id) > formats.MAX_ID_LENGTH or formats.has_control(transaction_id):
        return _malformed("transaction_id is not an id of 1 to 255 characters")
    if response.currency != currency:
        return _malformed(f"currency is not the Result's, {currency}")
    cash = formats.money(response.cash)
    if cash is None:
        return _malformed("cash is not an amount")
    bonus = formats.money(response.bonus) if response.bonus else None
    if response.bonus and bonus is None:
        return _malformed("bonus is neither empty nor an amount")
    return Applied(transaction_id, currency, cash, response.replayed, bonus)


def decode_error(error: grpc.aio.AioRpcError) -> PostingRefused | InconclusiveAnswer:
    """The meaning of a status: by its code and its reason, whatever the domain."""
    code, details = error.code(), _details(error)
    info = next(_unpacked(details, ErrorInfo), ErrorInfo())
    match code, info.reason:
        case grpc.StatusCode.NOT_FOUND, "ACCOUNT_UNKNOWN":
            return PostingRefused(PostingFault.ACCOUNT_UNKNOWN, "user_id")
        case grpc.StatusCode.FAILED_PRECONDITION, "CURRENCY_MISMATCH":
            return PostingRefused(PostingFault.CURRENCY_MISMATCH, "currency")
        case grpc.StatusCode.ALREADY_EXISTS, "REFERENCE_REUSED":
            return PostingRefused(PostingFault.REFERENCE_REUSED, _known(info.metadata.get("field", "")))
        case grpc.StatusCode.INVALID_ARGUMENT, _:
            # No proxy returns it, so that it needs no reason.
            return PostingRefused(PostingFault.FIELD_INVALID, _known(_violated(details)))
    text = describe_status(error)
    if code in _RETRYABLE:
        remedy = _TLS_REMEDY if _is_tls_failure(text) else ""
        return InconclusiveAnswer(text, True, _retry_after_s(details), remedy)
    return InconclusiveAnswer(text, remedy=_REMEDIES.get(code, _REASON_MISSING_REMEDY))


def describe_status(error: grpc.aio.AioRpcError) -> str:
    """A status as a short printable text."""
    shown = "".join(character if character.isprintable() else " " for character in error.details() or "")
    if len(shown) > _MAX_DESCRIPTION_LENGTH:
        shown = shown[: _MAX_DESCRIPTION_LENGTH - 1] + "…"
    return f"{error.code().name} {shown}"


def _details(error: grpc.aio.AioRpcError) -> Status:
    """The google.rpc.Status in the metadata, empty where there is none with the same code."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            try:
                status = Status.FromString(value)
            except DecodeError:
                continue
            if status.code == error.code().value[0]:
                return status
    return Status()


def _unpacked(details: Status, kind: type[MessageT]) -> Iterator[MessageT]:
    for packed in details.details:
        message = kind()
        with suppress(DecodeError):
            if packed.Unpack(message):
                yield message


def _violated(details: Status) -> str:
    """The first field that a BadRequest names."""
    return next(
        (violation.field for bad in _unpacked(details, BadRequest) for violation in bad.field_violations),
        "",
    )


def _retry_after_s(details: Status) -> float:
    asked: list[float] = [retry.retry_delay.ToNanoseconds() / 1e9 for retry in _unpacked(details, RetryInfo)]
    return max(0.0, max(asked, default=0.0))  # it may be negative


def _known(field: str) -> str:
    """The field, where it is one of the request's: it is part of the answer to the provider."""
    return field if field in _FIELDS else ""


def _is_tls_failure(text: str) -> bool:
    """Whether certificates prevented the connection. The library has no code for it, and a wallet that requires a
    certificate of ours just closes the connection.
    """
    signs = ("handshake", "verification", "Socket closed")
    return "failed to connect" in text and any(sign in text for sign in signs)


def _malformed(what: str) -> InconclusiveAnswer:
    return InconclusiveAnswer(
        f"its answer is malformed: {what}", remedy="have the wallet answer as wallet_service.proto says"
    )
