"""What the wallet's tests have in common: a Result, and the journal's line of it."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from adapters.contract import PromoPrize, Result
from gateway.store.models import Direction, Exchange, Message

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

RESULT = Result(
    reference="585c1306f89c56f5ecfc2f5d",
    user_id="421",
    currency="USD",
    amount=Decimal("10.0"),
    round_id="5103188801",
    game_id="Im_60_tumblefortune",
    session_id="6fd2d6f3bb8f4c5a9fadf15d81206af2",
)
PRIZE = PromoPrize(Decimal("2.5"), "prize-1")


def exchange(verdict: str, detail: str = "") -> Exchange:
    return Exchange(
        id=uuid4().hex,
        direction=Direction.INBOUND,
        provider="monaco",
        operation="V4/Result",
        method="POST",
        path="/callbacks/monaco/V4/Result",
        request=Message("Content-Type: application/json", b"{}"),
        started_at=NOW,
        ended_at=NOW,
        verdict=verdict,
        status=200,
        detail=detail,
    )
