"""The one table from a failure to google.rpc.Status, and how a Status is built from it."""

from dataclasses import dataclass
from enum import StrEnum, unique

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from gateway.sessions.errors import GatewayError, Reason
from gateway.store.models import PostingFault

DOMAIN = "session-gateway"

LONGEST_MESSAGE = 1000
"""Bytes of a message or a description in UTF-8, of which each may take three to travel: trailers over 8 KiB are refused
by grpcio's clients, and the caller learns nothing of what they held.
"""


_CUT = "…".encode()


@unique
class ApiReason(StrEnum):
    """Failures that belong to this API alone, and not to closing or to a wallet."""

    EVENT_UNKNOWN = "EVENT_UNKNOWN"
    ACCOUNT_EXISTS = "ACCOUNT_EXISTS"
    GATEWAY_STOPPING = "GATEWAY_STOPPING"
    ITEM_UNKNOWN = "ITEM_UNKNOWN"
    ITEM_RESOLVED = "ITEM_RESOLVED"
    TRANSACTION_UNKNOWN = "TRANSACTION_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Row:
    """A failure's place in gRPC."""

    code: grpc.StatusCode
    retry_after_s: float | None = None
    """Where trying the same again may help: how long to wait first."""
    told_as: str = ""
    """The reason's name on the wire, where it differs."""


TABLE: dict[StrEnum, Row] = {
    Reason.FIELD_INVALID: Row(grpc.StatusCode.INVALID_ARGUMENT),
    Reason.PROVIDER_UNKNOWN: Row(grpc.StatusCode.NOT_FOUND),
    Reason.UNSUPPORTED_BY_PROVIDER: Row(grpc.StatusCode.UNIMPLEMENTED),
    Reason.REQUEST_ID_REUSED: Row(grpc.StatusCode.ALREADY_EXISTS),
    Reason.PROVIDER_DISABLED: Row(grpc.StatusCode.UNAVAILABLE),
    Reason.CIRCUIT_OPEN: Row(grpc.StatusCode.UNAVAILABLE, retry_after_s=1),
    Reason.PROVIDER_BUSY: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=1),
    Reason.GATEWAY_BUSY: Row(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=1),
    Reason.PROVIDER_UNREACHABLE: Row(grpc.StatusCode.UNAVAILABLE, retry_after_s=1),
    Reason.PROVIDER_TIMEOUT: Row(grpc.StatusCode.DEADLINE_EXCEEDED, retry_after_s=1),
    Reason.PROVIDER_CONNECTION_LOST: Row(grpc.StatusCode.UNAVAILABLE, retry_after_s=1),
    Reason.PROVIDER_FAILED: Row(grpc.StatusCode.UNAVAILABLE, retry_after_s=1),
    Reason.PROVIDER_FAILED_PERMANENTLY: Row(grpc.StatusCode.INTERNAL, told_as="PROVIDER_FAILED"),
    Reason.PROVIDER_CREDENTIALS_REJECTED: Row(grpc.StatusCode.FAILED_PRECONDITION),
    Reason.USER_UNKNOWN: Row(grpc.StatusCode.NOT_FOUND),
    Reason.PROVIDER_REFUSED: Row(grpc.StatusCode.FAILED_PRECONDITION),
    Reason.PROVIDER_ANSWER_MALFORMED: Row(grpc.StatusCode.INTERNAL),
    Reason.CALLBACK_UNKNOWN: Row(grpc.StatusCode.NOT_FOUND),
    Reason.NOT_REDELIVERABLE: Row(grpc.StatusCode.FAILED_PRECONDITION),
    Reason.CALLER_GONE: Row(grpc.StatusCode.CANCELLED),
    Reason.STORE_UNAVAILABLE: Row(grpc.StatusCode.UNAVAILABLE, retry_after_s=1),
    Reason.GATEWAY_ERROR: Row(grpc.StatusCode.INTERNAL),
    PostingFault.ACCOUNT_UNKNOWN: Row(grpc.StatusCode.NOT_FOUND),
    PostingFault.CURRENCY_MISMATCH: Row(grpc.StatusCode.FAILED_PRECONDITION),
    PostingFault.REFERENCE_REUSED: Row(grpc.StatusCode.ALREADY_EXISTS),
    ApiReason.EVENT_UNKNOWN: Row(grpc.StatusCode.OUT_OF_RANGE),
    ApiReason.ACCOUNT_EXISTS: Row(grpc.StatusCode.ALREADY_EXISTS),
    ApiReason.GATEWAY_STOPPING: Row(grpc.StatusCode.UNAVAILABLE, retry_after_s=1),
    ApiReason.ITEM_UNKNOWN: Row(grpc.StatusCode.NOT_FOUND),
    ApiReason.ITEM_RESOLVED: Row(grpc.StatusCode.FAILED_PRECONDITION),
    ApiReason.TRANSACTION_UNKNOWN: Row(grpc.StatusCode.NOT_FOUND),
}


def status_of(failure: GatewayError) -> Status:
    """The failure as a caller sees it: its code, its message, and the details that a program can act on."""
    row = TABLE[failure.reason]
    metadata = {
        "provider": failure.provider,
        "provider_code": failure.provider_code,
        "certainty": failure.certainty or "",
        "request_id": failure.request_id,
        **dict(failure.details),
    }
    details: list[Message] = [
        ErrorInfo(
            reason=row.told_as or failure.reason,
            domain=DOMAIN,
            metadata={key: _cut(value, 255) for key, value in metadata.items() if value},
        )
    ]
    if failure.violations:
        details.append(
            BadRequest(
                field_violations=[
                    BadRequest.FieldViolation(field=violation.field, description=_cut(violation.description))
                    for violation in failure.violations
                ]
            )
        )
    retry_after_s = row.retry_after_s if failure.retry_after_s is None else failure.retry_after_s
    if retry_after_s is not None:
        details.append(RetryInfo(retry_delay=_duration(retry_after_s)))
    status = Status(code=row.code.value[0], message=_cut(failure.message))
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _cut(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """The text, or what of it and an ellipsis fit into so many bytes."""
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= longest else encoded[: longest - len(_CUT)].decode(errors="ignore") + _CUT.decode()


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
