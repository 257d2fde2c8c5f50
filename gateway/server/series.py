"""Which series the counters of a provider have, so that they exist from 0: 59 for calls, 19 for attempts, 2 for
retries, and 12 for each callback path.
"""

from collections.abc import Iterable

from adapters.contract import CallbackFault, Certainty, Outcome
from gateway.sessions.attempt import CLOSE_SESSION
from gateway.sessions.errors import REASON_BY_FAULT, REASON_BY_REFUSAL, Reason
from gateway.telemetry.health import ExpectedSeries

_NOT_OF_CALLS = frozenset({Reason.CALLBACK_UNKNOWN, Reason.NOT_REDELIVERABLE, Reason.CALLER_GONE})

_SUCCESSES = tuple((outcome, "") for outcome in Outcome)

# The certainty is that of all attempts, so that each reason can have each.
_CALLS = tuple(
    (CLOSE_SESSION, *labels)
    for labels in (
        *_SUCCESSES,
        *((reason, certainty) for reason in Reason if reason not in _NOT_OF_CALLS for certainty in Certainty),
    )
)

_ATTEMPTS = (
    *_SUCCESSES,
    *sorted(
        {
            *REASON_BY_REFUSAL.values(),
            *(
                (reason, certainty)
                for reason in (*REASON_BY_FAULT.values(), Reason.GATEWAY_ERROR)
                for certainty in (Certainty.NOT_SENT, Certainty.UNKNOWN)
            ),
        }
    ),
)

_ANSWERS = ("ACCEPTED", "CREDITED", *CallbackFault)

NO_PROVIDER = ExpectedSeries("", _CALLS)
"""Of calls that name no configured provider."""


def expected_series(provider: str, paths: Iterable[str]) -> ExpectedSeries:
    """The series of a configured provider, whose adapter has callbacks at these paths."""
    callbacks = tuple((path, answer) for path in paths for answer in _ANSWERS)
    return ExpectedSeries(provider, _CALLS, _ATTEMPTS, callbacks)
