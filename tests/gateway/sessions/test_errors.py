"""Which failures say that the provider is sick."""

import pytest

from adapters.contract import Certainty
from gateway.sessions.errors import GatewayError, Reason, provider_failed

SICK = [
    (Reason.PROVIDER_UNREACHABLE, Certainty.NOT_SENT),
    (Reason.PROVIDER_TIMEOUT, Certainty.UNKNOWN),
    (Reason.PROVIDER_CONNECTION_LOST, Certainty.UNKNOWN),
    (Reason.PROVIDER_FAILED, Certainty.UNKNOWN),
    (Reason.PROVIDER_FAILED_FOR_GOOD, Certainty.UNKNOWN),
]
WELL = [
    (Reason.PROVIDER_FAILED, Certainty.REFUSED),
    (Reason.PROVIDER_REFUSED, Certainty.REFUSED),
    (Reason.PROVIDER_REFUSED, Certainty.UNKNOWN),
    (Reason.PROVIDER_ANSWER_MALFORMED, Certainty.UNKNOWN),
    (Reason.PROVIDER_CREDENTIALS_REJECTED, Certainty.REFUSED),
    (Reason.USER_UNKNOWN, Certainty.REFUSED),
]
SAYS_NOTHING = [(Reason.GATEWAY_ERROR, Certainty.NOT_SENT), (Reason.GATEWAY_ERROR, Certainty.UNKNOWN)]


@pytest.mark.parametrize(
    ("reason", "certainty", "failed"),
    [
        *((*one, True) for one in SICK),
        *((*one, False) for one in WELL),
        *((*one, None) for one in SAYS_NOTHING),
    ],
)
def test_what_an_attempt_says_of_the_provider(reason: Reason, certainty: Certainty, failed: bool | None) -> None:
    """No answer does, or one that says so; a refusal does not, nor a malformed answer; a bug of ours says neither:
    a probe that never left would otherwise close the circuit.
    """
    assert provider_failed(GatewayError(reason, "", certainty=certainty)) is failed
