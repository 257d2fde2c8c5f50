"""Results as a provider of the LuckyMonaco family delivers them."""

import json
from collections.abc import Mapping
from typing import Any

RESULT: Mapping[str, Any] = {
    "providerId": "luckymonaco",
    "userId": "421",
    "currency": "USD",
    "amount": 10.0,
    "roundDetails": "spin",
    "roundid": "5103188801",
    "reference": "585c1306f89c56f5ecfc2f5d",
    "gameId": "Im_60_tumblefortune",
    "gameName": "tumblefortune",
    "uuid": "4a5d375ac1311b04fba2ea66d067b8e5",
    "timestamp": "1482429190374",
}
"""The document's own example."""


def result_body(reference: str = "585c1306f89c56f5ecfc2f5d", **members: Any) -> bytes:
    """The example under this reference, with other members if given."""
    return json.dumps({**RESULT, "reference": reference, **members}, ensure_ascii=False).encode()
