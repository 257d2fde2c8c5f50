"""Any body is answered with HTTP 200 in the dialect, and the balance changes only if the reply says so."""

import json
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.callbacks.harness import EXPIRED, CallbackEndpoint, CallbackHarness
from tests.support.results import RESULT

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=40),
    st.sampled_from(["", "0", "1e5", "-1", "10.50", "\ud800", "\x00", "x" * 300, "٣", "USD", "EUR"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
NAMES = st.sampled_from([*RESULT, *EXPIRED, "roundId", "secureLogin", "promoWinAmount", "promoWinReference", "bonus"])
DISTORTED = st.builds(
    lambda changes, dropped: json.dumps(
        {name: value for name, value in {**EXPIRED, **RESULT, **changes}.items() if name not in dropped}
    ).encode(),
    st.dictionaries(NAMES, ODD, max_size=4),
    st.sets(NAMES, max_size=2),
)
CUT = st.builds(lambda body, length: body[:length], DISTORTED, st.integers(0, 400))
BODIES = st.one_of(DISTORTED, CUT, st.binary(max_size=200), st.text(max_size=50).map(lambda text: text.encode("utf-8")))

CODES = {0, 52, 54, 57, 59, 62, 64, 999}
"""Codes of the dialect, without 998, which would be a bug of the gateway."""


def amounts(body: bytes) -> Decimal:
    message: dict[str, Any] = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    return Decimal(message["amount"]) + Decimal(message.get("promoWinAmount") or 0)


@given(body=BODIES, operation=st.sampled_from(["Result", "SessionExpired"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_body_is_answered_in_the_dialect(
    harness: CallbackHarness, endpoint: CallbackEndpoint, body: bytes, operation: str
) -> None:
    """The status is 200 with a known code, there is a journal line, and only a credited amount changes the balance."""
    await harness.open_account(opening="0")
    before, lines, events = await harness.cash(), len(await harness.journal()), len(await harness.events())
    reply = await harness.deliver(endpoint.path(operation), body)
    assert reply.status == 200
    assert reply.json["error"] in CODES
    assert len(await harness.journal()) == lines + 1
    credited = operation == "Result" and reply.json["error"] == 0 and len(await harness.events()) > events
    assert await harness.cash() - before == (amounts(body) if credited else 0)
