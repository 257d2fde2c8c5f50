"""Accounts, messages and amounts that the family's tests start from."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from adapters.contract import Account, Attempt, HttpRequest, Secret
from adapters.luckymonaco_common.settings import FamilySettings

_WHOLE = st.integers(0, 10**14 - 1).map(str)
_FRACTION = st.text("0123456789", min_size=1, max_size=18)
AMOUNTS = _WHOLE | st.integers(0, 10**32 - 1).map(str) | st.builds("{}.{}".format, _WHOLE, _FRACTION)
"""Amounts of the dialect's form."""

ACCOUNT = Account("p", FamilySettings(secure_login="partner"), Secret("t0ken"))
ATTEMPT = Attempt(1, "0123456789abcdef0123456789abcdef", datetime(2026, 11, 1, tzinfo=UTC))

SESSION_EXPIRED: dict[str, Any] = {"providerId": "luckymonaco", "sessionId": "s-1", "userId": "u-1"}
RESULT: dict[str, Any] = {
    "uuid": "4a5d375ac1311b04fba2ea66d067b8e5",
    "userId": "u-1",
    "gameId": "g_1_fortune",
    "gameName": "fortune",
    "roundId": "r-1",
    "amount": 10,
    "reference": "ref-1",
    "currency": "USD",
    "providerId": "luckymonaco",
    "timestamp": "1482429190374",
    "roundDetails": "spin",
}


def posted(message: dict[str, Any] | bytes) -> HttpRequest:
    """A callback with this body."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return HttpRequest("POST", "/", body=body)
