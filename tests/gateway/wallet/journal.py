"""A Result and its records, as the wallet's tests use them."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from adapters.contract import PromoPrize, Result
from gateway.store.base import PostingRecords
from gateway.store.models import Applied, Direction, Exchange, Message
from gateway.wallet.base import PostingOutcome
from gateway.wallet.records import posting_records

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


def records_of(result: Result) -> Callable[[datetime, PostingOutcome], PostingRecords]:
    """The records of the outcome of this Result."""

    def make(ended_at: datetime, outcome: PostingOutcome) -> PostingRecords:
        line = exchange("CREDITED" if isinstance(outcome, Applied) else outcome.fault)
        return posting_records(result, outcome, line)

    return make
