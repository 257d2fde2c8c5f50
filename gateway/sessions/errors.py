"""What can go wrong with a call, as one closed set: rpc/status.py gives each its place in gRPC."""

from dataclasses import dataclass
from enum import StrEnum, unique

from adapters.contract import Certainty, RefusalKind
from gateway.outbound.admission import AdmissionFault
from gateway.outbound.client import ExchangeFault


@unique
class Reason(StrEnum):
    """Why a call failed: one for each row of the table of failures."""

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
    PROVIDER_FAILED_FOR_GOOD = "PROVIDER_FAILED_FOR_GOOD"
    """Told to callers as PROVIDER_FAILED, with a code that says: do not retry."""
    PROVIDER_CREDENTIALS_REJECTED = "PROVIDER_CREDENTIALS_REJECTED"
    USER_UNKNOWN = "USER_UNKNOWN"
    PROVIDER_REFUSED = "PROVIDER_REFUSED"
    PROVIDER_ANSWER_MALFORMED = "PROVIDER_ANSWER_MALFORMED"
    CALLBACK_UNKNOWN = "CALLBACK_UNKNOWN"
    NOT_REDELIVERABLE = "NOT_REDELIVERABLE"
    CALLER_GONE = "CALLER_GONE"
    """Nobody is told: whoever asked has left before anything was sent. It stands in the store."""
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    GATEWAY_ERROR = "GATEWAY_ERROR"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request that is not as it must be, and what it must be."""

    field: str
    description: str


class GatewayError(Exception):
    """A call failed. `message` is for a person: what happened, to what, what to do next; it holds no secret."""

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
        self.reason = reason
        self.message = message
        self.certainty = certainty
        self.provider = provider
        self.provider_code = provider_code
        self.request_id = request_id
        self.violations = violations
        self.details = details
        """More of ErrorInfo's metadata."""
        self.retry_after_s = retry_after_s
        """Seconds after which trying again may help, where that is known better than the table of failures does."""

    def with_certainty(self, certainty: Certainty) -> "GatewayError":
        """The same failure, of another certainty."""
        return GatewayError(
            self.reason,
            self.message,
            certainty=certainty,
            provider=self.provider,
            provider_code=self.provider_code,
            request_id=self.request_id,
            violations=self.violations,
            details=self.details,
            retry_after_s=self.retry_after_s,
        )


def provider_unknown(name: str) -> GatewayError:
    """No provider of this name is served here."""
    message = f"no provider '{name}' is configured: ListProviders tells which are"
    return GatewayError(Reason.PROVIDER_UNKNOWN, message, provider=name)


REASON_BY_REFUSAL: dict[RefusalKind, tuple[Reason, Certainty]] = {
    RefusalKind.THROTTLED: (Reason.PROVIDER_FAILED, Certainty.REFUSED),
    RefusalKind.FAILED: (Reason.PROVIDER_FAILED, Certainty.UNKNOWN),
    RefusalKind.FAILED_PERMANENTLY: (Reason.PROVIDER_FAILED_FOR_GOOD, Certainty.UNKNOWN),
    RefusalKind.CREDENTIALS_REJECTED: (Reason.PROVIDER_CREDENTIALS_REJECTED, Certainty.REFUSED),
    RefusalKind.USER_UNKNOWN: (Reason.USER_UNKNOWN, Certainty.REFUSED),
    RefusalKind.REFUSED: (Reason.PROVIDER_REFUSED, Certainty.REFUSED),
    RefusalKind.REFUSED_UNLISTED: (Reason.PROVIDER_REFUSED, Certainty.UNKNOWN),
    RefusalKind.MALFORMED: (Reason.PROVIDER_ANSWER_MALFORMED, Certainty.UNKNOWN),
}

REASON_BY_FAULT: dict[ExchangeFault, Reason] = {
    ExchangeFault.UNREACHABLE: Reason.PROVIDER_UNREACHABLE,
    ExchangeFault.TIMEOUT: Reason.PROVIDER_TIMEOUT,
    ExchangeFault.CONNECTION_LOST: Reason.PROVIDER_CONNECTION_LOST,
    ExchangeFault.ANSWER_MALFORMED: Reason.PROVIDER_ANSWER_MALFORMED,
}

REASON_BY_ADMISSION_FAULT: dict[AdmissionFault, Reason] = {
    AdmissionFault.CIRCUIT_OPEN: Reason.CIRCUIT_OPEN,
    AdmissionFault.BUSY: Reason.PROVIDER_BUSY,
}

RETRYABLE = frozenset(
    {Reason.PROVIDER_UNREACHABLE, Reason.PROVIDER_TIMEOUT, Reason.PROVIDER_CONNECTION_LOST, Reason.PROVIDER_FAILED}
)
"""What another attempt may mend. Where the outcome is UNKNOWN it is made only where closing twice does no harm."""

_NO_ANSWER = frozenset({Reason.PROVIDER_UNREACHABLE, Reason.PROVIDER_TIMEOUT, Reason.PROVIDER_CONNECTION_LOST})
_FAILED = frozenset({Reason.PROVIDER_FAILED, Reason.PROVIDER_FAILED_FOR_GOOD})


def provider_failed(failure: GatewayError) -> bool | None:
    """Whether the provider is sick, as far as one attempt tells: it did not answer, or said that it fails itself. A
    refusal, and an answer that is not the dialect, come from one that works. None where it is a bug of ours.
    """
    if failure.reason is Reason.GATEWAY_ERROR:
        return None
    return failure.reason in _NO_ANSWER or (failure.reason in _FAILED and failure.certainty is Certainty.UNKNOWN)
