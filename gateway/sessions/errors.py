"""Why a call fails: one error type and a closed set of reasons. rpc/status.py maps each reason to a gRPC status."""

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any, Final

from adapters.contract import Certainty, RefusalKind
from gateway.outbound.admission import AdmissionFault
from gateway.outbound.client import ExchangeFault


@unique
class Reason(StrEnum):
    """Why a call failed."""

    FIELD_INVALID = "FIELD_INVALID"
    PROVIDER_UNKNOWN = "PROVIDER_UNKNOWN"
    UNSUPPORTED_BY_PROVIDER = "UNSUPPORTED_BY_PROVIDER"
    PROVIDER_DISABLED = "PROVIDER_DISABLED"
    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    PROVIDER_BUSY = "PROVIDER_BUSY"
    GATEWAY_BUSY = "GATEWAY_BUSY"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    PROVIDER_UNREACHABLE = "PROVIDER_UNREACHABLE"
    PROVIDER_TIMEOUT = "PROVIDER_TIMEOUT"
    PROVIDER_CONNECTION_LOST = "PROVIDER_CONNECTION_LOST"
    PROVIDER_FAILED = "PROVIDER_FAILED"
    PROVIDER_FAILED_PERMANENTLY = "PROVIDER_FAILED_PERMANENTLY"
    """Callers receive PROVIDER_FAILED with a code that says: do not retry."""
    PROVIDER_CREDENTIALS_REJECTED = "PROVIDER_CREDENTIALS_REJECTED"
    USER_UNKNOWN = "USER_UNKNOWN"
    PROVIDER_REFUSED = "PROVIDER_REFUSED"
    PROVIDER_ANSWER_MALFORMED = "PROVIDER_ANSWER_MALFORMED"
    CALLBACK_UNKNOWN = "CALLBACK_UNKNOWN"
    NOT_REDELIVERABLE = "NOT_REDELIVERABLE"
    CALLER_GONE = "CALLER_GONE"
    """Only the store receives it: every caller left before anything was sent."""
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    GATEWAY_ERROR = "GATEWAY_ERROR"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """An invalid field of a request, and what it must be."""

    field: str
    description: str


class GatewayError(Exception):
    """A call failed. `message` is for an operator: what happened, to what, what to do next. It contains no secret.

    Its fields do not change. `replace` returns another instance: callers that share a failure raise separate ones.
    """

    def __init__(
        self,
        reason: StrEnum,
        message: str,
        *,
        certainty: Certainty | None = Certainty.NOT_SENT,
        provider: str = "",
        provider_code: str = "",
        request_id: str = "",
        violations: tuple[FieldViolation, ...] = (),
        details: tuple[tuple[str, str], ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason: Final = reason
        self.message: Final = message
        self.certainty: Final = certainty
        self.provider: Final = provider
        self.provider_code: Final = provider_code
        self.request_id: Final = request_id
        self.violations: Final = violations
        self.details: Final = details
        """More metadata of ErrorInfo."""
        self.retry_after_s: Final = retry_after_s
        """Seconds after which a retry may help; None leaves it to the table in rpc/status.py."""

    def replace(self, **changes: Any) -> "GatewayError":
        """Another instance with these fields changed."""
        return GatewayError(**{**vars(self), **changes})


def provider_unknown(name: str) -> GatewayError:
    """No provider of this name is configured."""
    message = f"no provider '{name}' is configured: ListProviders lists those that are"
    return GatewayError(Reason.PROVIDER_UNKNOWN, message, provider=name)


REASON_BY_REFUSAL: dict[RefusalKind, tuple[Reason, Certainty]] = {
    RefusalKind.THROTTLED: (Reason.PROVIDER_FAILED, Certainty.REFUSED),
    RefusalKind.FAILED: (Reason.PROVIDER_FAILED, Certainty.UNKNOWN),
    RefusalKind.FAILED_PERMANENTLY: (Reason.PROVIDER_FAILED_PERMANENTLY, Certainty.UNKNOWN),
    RefusalKind.CREDENTIALS_REJECTED: (Reason.PROVIDER_CREDENTIALS_REJECTED, Certainty.REFUSED),
    RefusalKind.USER_UNKNOWN: (Reason.USER_UNKNOWN, Certainty.REFUSED),
    RefusalKind.REFUSED: (Reason.PROVIDER_REFUSED, Certainty.REFUSED),
    RefusalKind.REFUSED_UNLISTED: (Reason.PROVIDER_REFUSED, Certainty.UNKNOWN),
    RefusalKind.MALFORMED: (Reason.PROVIDER_ANSWER_MALFORMED, Certainty.UNKNOWN),
}

REASON_BY_FAULT: dict[ExchangeFault, Reason] = {
    ExchangeFault.UNREACHABLE: Reason.PROVIDER_UNREACHABLE,
    ExchangeFault.HOST_SHORT: Reason.GATEWAY_BUSY,
    ExchangeFault.TIMEOUT: Reason.PROVIDER_TIMEOUT,
    ExchangeFault.CONNECTION_LOST: Reason.PROVIDER_CONNECTION_LOST,
    ExchangeFault.ANSWER_MALFORMED: Reason.PROVIDER_ANSWER_MALFORMED,
}

REASON_BY_ADMISSION_FAULT: dict[AdmissionFault, Reason] = {
    AdmissionFault.CIRCUIT_OPEN: Reason.CIRCUIT_OPEN,
    AdmissionFault.BUSY: Reason.PROVIDER_BUSY,
}

_NO_ANSWER = frozenset({Reason.PROVIDER_UNREACHABLE, Reason.PROVIDER_TIMEOUT, Reason.PROVIDER_CONNECTION_LOST})
_FAILED = frozenset({Reason.PROVIDER_FAILED, Reason.PROVIDER_FAILED_PERMANENTLY})

RETRYABLE = _NO_ANSWER | {Reason.PROVIDER_FAILED}
"""Where another attempt may help. With certainty UNKNOWN it is made only where closing twice does no harm."""


def provider_failed(error: GatewayError) -> bool | None:
    """Whether an attempt shows that the provider is failing: it did not answer, or reported its own failure.

    A refusal or a malformed answer comes from a provider that works. None for a bug of the gateway, and where its host
    is short of a resource.
    """
    if error.reason in {Reason.GATEWAY_ERROR, Reason.GATEWAY_BUSY}:
        return None
    return error.reason in _NO_ANSWER or (error.reason in _FAILED and error.certainty is Certainty.UNKNOWN)
