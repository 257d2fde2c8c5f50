"""Which errors show that the provider is failing."""

import pytest

from adapters.contract import Certainty
from gateway.sessions.errors import GatewayError, Reason, provider_failed

FAILING = [
    (Reason.PROVIDER_UNREACHABLE, Certainty.NOT_SENT),
    (Reason.PROVIDER_TIMEOUT, Certainty.UNKNOWN),
    (Reason.PROVIDER_CONNECTION_LOST, Certainty.UNKNOWN),
    (Reason.PROVIDER_FAILED, Certainty.UNKNOWN),
    (Reason.PROVIDER_FAILED_PERMANENTLY, Certainty.UNKNOWN),
]
WORKING = [
    (Reason.PROVIDER_FAILED, Certainty.REFUSED),
    (Reason.PROVIDER_REFUSED, Certainty.REFUSED),
    (Reason.PROVIDER_REFUSED, Certainty.UNKNOWN),
    (Reason.PROVIDER_ANSWER_MALFORMED, Certainty.UNKNOWN),
    (Reason.PROVIDER_CREDENTIALS_REJECTED, Certainty.REFUSED),
    (Reason.USER_UNKNOWN, Certainty.REFUSED),
]
UNDECIDED = [
    (Reason.GATEWAY_ERROR, Certainty.NOT_SENT),
    (Reason.GATEWAY_ERROR, Certainty.UNKNOWN),
    (Reason.GATEWAY_BUSY, Certainty.NOT_SENT),
]


@pytest.mark.parametrize(
    ("reason", "certainty", "failed"),
    [
        *((*one, True) for one in FAILING),
        *((*one, False) for one in WORKING),
        *((*one, None) for one in UNDECIDED),
    ],
)
def test_provider_failed(reason: Reason, certainty: Certainty, failed: bool | None) -> None:
    """No answer and a reported failure show a failing provider, a refusal and a malformed answer a working one, and a
    bug or a shortage of the gateway neither: a probe that was not sent must not close the circuit.
    """
    assert provider_failed(GatewayError(reason, "", certainty=certainty)) is failed


def test_replace_returns_another_instance() -> None:
    """The copy has the changed fields and all others, and the original is as before."""
    error = GatewayError(Reason.PROVIDER_FAILED, "failed", provider_code="998", retry_after_s=3.0)
    copy = error.replace(certainty=Certainty.UNKNOWN, request_id="request-1")
    assert (copy.certainty, copy.request_id) == (Certainty.UNKNOWN, "request-1")
    assert (copy.reason, copy.provider_code, copy.retry_after_s, str(copy)) == (error.reason, "998", 3.0, "failed")
    assert (error.certainty, error.request_id) == (Certainty.NOT_SENT, "")
