"""The one table from error to google.rpc.Status."""

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

MAX_MESSAGE_BYTES = 1000
"""The limit of a message or a description in UTF-8. Percent-encoding can triple it, and grpcio's clients reject
trailers over 8 KiB, details included.
"""

_ELLIPSIS = "…".encode()


@unique
class ApiReason(StrEnum):
    """Reasons that only this API has."""

    EVENT_UNKNOWN = "EVENT_UNKNOWN"
    ACCOUNT_EXISTS = "ACCOUNT_EXISTS"
    GATEWAY_STOPPING = "GATEWAY_STOPPING"
    ITEM_UNKNOWN = "ITEM_UNKNOWN"
    ITEM_RESOLVED = "ITEM_RESOLVED"
    TRANSACTION_UNKNOWN = "TRANSACTION_UNKNOWN"
    RESULTS_COME_BY_CALLBACK = "RESULTS_COME_BY_CALLBACK"
    CALLER_UNKNOWN = "CALLER_UNKNOWN"
    CALLER_NOT_ALLOWED = "CALLER_NOT_ALLOWED"


@dataclass(frozen=True, slots=True)
class Row:
    """A reason in gRPC."""

    code: grpc.StatusCode
    retry_after_s: float | None = None
    """Seconds to wait before a retry, where one can help."""
    wire_reason: str = ""
    """The reason in ErrorInfo, where it differs."""


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
    Reason.PROVIDER_FAILED_PERMANENTLY: Row(grpc.StatusCode.INTERNAL, wire_reason="PROVIDER_FAILED"),
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
    PostingFault.AMOUNT_ABOVE_LIMIT: Row(grpc.StatusCode.FAILED_PRECONDITION),
    PostingFault.REFERENCE_REUSED: Row(grpc.StatusCode.ALREADY_EXISTS),
    ApiReason.EVENT_UNKNOWN: Row(grpc.StatusCode.OUT_OF_RANGE),
    ApiReason.ACCOUNT_EXISTS: Row(grpc.StatusCode.ALREADY_EXISTS),
    ApiReason.GATEWAY_STOPPING: Row(grpc.StatusCode.UNAVAILABLE, retry_after_s=1),
    ApiReason.ITEM_UNKNOWN: Row(grpc.StatusCode.NOT_FOUND),
    ApiReason.ITEM_RESOLVED: Row(grpc.StatusCode.FAILED_PRECONDITION),
    ApiReason.TRANSACTION_UNKNOWN: Row(grpc.StatusCode.NOT_FOUND),
    ApiReason.RESULTS_COME_BY_CALLBACK: Row(grpc.StatusCode.FAILED_PRECONDITION),
    ApiReason.CALLER_UNKNOWN: Row(grpc.StatusCode.UNAUTHENTICATED),
    ApiReason.CALLER_NOT_ALLOWED: Row(grpc.StatusCode.PERMISSION_DENIED),
}


def status_of(error: GatewayError) -> Status:
    """The error as its caller receives it: code, message, and details for programs."""
    row = TABLE[error.reason]
    metadata = {
        "provider": error.provider,
        "provider_code": error.provider_code,
        "certainty": error.certainty or "",
        "request_id": error.request_id,
        **dict(error.details),
    }
    details: list[Message] = [
        ErrorInfo(
            reason=row.wire_reason or error.reason,
            domain=DOMAIN,
            metadata={key: _truncate(value, 255) for key, value in metadata.items() if value},
        )
    ]
    if error.violations:
        details.append(
            BadRequest(
                field_violations=[
                    BadRequest.FieldViolation(field=violation.field, description=_truncate(violation.description))
                    for violation in error.violations
                ]
            )
        )
    retry_after_s = row.retry_after_s if error.retry_after_s is None else error.retry_after_s
    if retry_after_s is not None:
        details.append(RetryInfo(retry_delay=_duration(retry_after_s)))
    status = Status(code=row.code.value[0], message=_truncate(error.message))
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _truncate(text: str, max_bytes: int = MAX_MESSAGE_BYTES) -> str:
    """The text; a longer one is cut and ends in an ellipsis."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= max_bytes:
        return text
    return encoded[: max_bytes - len(_ELLIPSIS)].decode(errors="ignore") + _ELLIPSIS.decode()


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
