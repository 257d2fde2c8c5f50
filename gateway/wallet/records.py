"""What a Result means to the ledger, and its records: the posting, the event, the reconciliation item.

An exchange has at most one event and one item. Both have its id, and the time of its end.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID, uuid5

from adapters.contract import Result
from gateway.store.base import PostingRecords
from gateway.store.ids import new_id
from gateway.store.models import (
    AboveCeiling,
    Actor,
    Applied,
    Direction,
    Event,
    EventType,
    Exchange,
    Posting,
    PostingFault,
    PostingRefused,
)
from gateway.store.reconciliation import ReconciliationItem, ReconciliationKind
from gateway.wallet.formats import money_text

OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
"""The fault of an item whose Result the wallet may or may not have credited."""

CREDITED_TWICE = "CREDITED_TWICE"
"""The fault of an item for whose Result the operator's wallet reported two transactions."""

_REFUSALS = UUID("6f1d1d52-3a0e-4e0e-9a57-0d8c2a0b9a31")
"""The name space of the ids of refusals' journal lines."""

_EXPLANATIONS = {
    PostingFault.ACCOUNT_UNKNOWN: "player {user_id} has no account: open one, and have the Result sent again",
    PostingFault.CURRENCY_MISMATCH: (
        "player {user_id} has no account in {currency}: open one, or have the provider correct the Result's currency"
    ),
    PostingFault.REFERENCE_REUSED: (
        "reference {reference} was credited before with another {field}: "
        "compare both in the journal, and ask the provider which holds"
    ),
    PostingFault.FIELD_INVALID: (
        "the operator's wallet rejected the {field} of reference {reference} as invalid: "
        "compare the journal with what the wallet requires, fix it there, and have the Result sent again"
    ),
}


@dataclass(frozen=True, slots=True)
class RefusedResult:
    """A Result that was refused, as far as it could be read: all but the reference may be ''."""

    reference: str
    user_id: str
    session_id: str
    fault: str
    field: str


def posting(provider: str, result: Result) -> Posting:
    """The Result as the ledger applies it."""
    return Posting(
        provider=provider,
        reference=result.reference,
        user_id=result.user_id,
        currency=result.currency,
        amount=result.amount,
        round_id=result.round_id,
        game_id=result.game_id,
        session_id=result.session_id,
        promo_amount=result.promo.amount if result.promo else None,
        promo_reference=result.promo.reference if result.promo else "",
    )


def explain(result: Result, refused: PostingRefused) -> str:
    """Why the Result was refused, and what an operator can do."""
    if refused.above is not None:
        return _above(result, refused.above)
    return _EXPLANATIONS[refused.fault].format(
        user_id=result.user_id,
        currency=result.currency,
        reference=result.reference,
        field=refused.field or "content",
    )


def _above(result: Result, above: AboveCeiling) -> str:
    amount, ceiling = format(above.amount, "f"), format(above.ceiling, "f")
    hour = ""
    if above.credited is not None:
        hour = f", with the {format(above.credited, 'f')} {result.currency} credited in the hour before it,"
    return (
        f"the amount {amount} {result.currency}{hour} is above {above.key} of {ceiling} {result.currency}: compare it "
        "with the provider's own record, and redeliver the callback to credit it"
    )


def posting_records(result: Result, outcome: Applied | PostingRefused, exchange: Exchange) -> PostingRecords:
    """What is stored with a posting. The store takes the event only where the posting changed something."""
    if isinstance(outcome, PostingRefused):
        refused = RefusedResult(
            reference=result.reference,
            user_id=result.user_id,
            session_id=result.session_id,
            fault=outcome.fault,
            field=outcome.field,
        )
        item, event = refusal_records(refused, exchange)
        return PostingRecords(outcome=outcome, exchange=exchange, event=event, item=item)
    if outcome.contradicting:
        return PostingRecords(outcome=outcome, exchange=exchange, item=_contradicted(result, outcome, exchange))
    event = credited(exchange.provider, result, exchange.id, exchange.ended_at)
    return PostingRecords(outcome=outcome, exchange=exchange, event=event)


def credited(provider: str, result: Result, event_id: str, time: datetime) -> Event:
    """The event of a Result's first application."""
    return Event(
        id=event_id,
        type=EventType.RESULT_CREDITED,
        time=time,
        provider=provider,
        user_id=result.user_id,
        session_id=result.session_id,
        reference=result.reference,
    )


def unknown(result: Result, exchange: Exchange) -> ReconciliationItem:
    """The item of a Result that the operator's wallet may or may not have credited; a credit resolves it."""
    return ReconciliationItem(
        id=exchange.id,
        provider=exchange.provider,
        reference=result.reference,
        fault=OUTCOME_UNKNOWN,
        field="",
        detail=exchange.detail,
        user_id=result.user_id,
        created_at=exchange.ended_at,
        exchange_id=exchange.id,
        kind=ReconciliationKind.RESULT_UNKNOWN,
    )


def _contradicted(result: Result, applied: Applied, exchange: Exchange) -> ReconciliationItem:
    return ReconciliationItem(
        id=exchange.id,
        provider=exchange.provider,
        reference=result.reference,
        fault=CREDITED_TWICE,
        field="transaction_id",
        detail=(
            f"the operator's wallet credited reference {result.reference} as transaction {applied.transaction_id}, and "
            f"returned transaction {applied.contradicting} when asked again: check in its books whether it paid twice"
        ),
        user_id=result.user_id,
        created_at=exchange.ended_at,
        exchange_id=exchange.id,
        kind=ReconciliationKind.RESULT_CONTRADICTED,
    )


def refusal_records(refused: RefusedResult, exchange: Exchange) -> tuple[ReconciliationItem, Event]:
    """What is stored of a refused Result: an item for an operator, with the exchange's detail, and its event."""
    item = ReconciliationItem(
        id=exchange.id,
        provider=exchange.provider,
        reference=refused.reference,
        fault=refused.fault,
        field=refused.field,
        detail=exchange.detail,
        user_id=refused.user_id,
        created_at=exchange.ended_at,
        exchange_id=exchange.id,
    )
    event = Event(
        id=exchange.id,
        type=EventType.RESULT_REFUSED,
        time=exchange.ended_at,
        provider=exchange.provider,
        user_id=refused.user_id,
        session_id=refused.session_id,
        reference=refused.reference,
    )
    return item, event


def caller_line(
    provider: str, result: Result, outcome: Applied | PostingRefused, actor: Actor, now: datetime
) -> Exchange | None:
    """The journal line of a Result that came over gRPC. The journal stores an id once, so that repeated calls add
    nothing: a repeated credit has no line besides the first one's, a refusal has one for the same caller, content and
    cause.
    """
    credited_as = f"reference {result.reference}: {money_text(result.amount)} {result.currency} to {result.user_id}"
    if result.promo:
        credited_as += f", and prize {result.promo.reference}: {money_text(result.promo.amount)} {result.currency}"
    if isinstance(outcome, PostingRefused):
        line_id = uuid5(_REFUSALS, "\0".join((provider, actor.caller, outcome.fault, outcome.field, credited_as))).hex
        detail = f"{credited_as}: {explain(result, outcome)}"
        return _line(line_id, provider, "apply_result", str(outcome.fault), detail, actor, now)
    if outcome.replayed:
        return None
    return _line(outcome.transaction_id, provider, "apply_result", "CREDITED", credited_as, actor, now)


def opening_line(user_id: str, currency: str, opening: Decimal, actor: Actor, now: datetime) -> Exchange:
    """The journal line of an account that was opened with money. It has no provider."""
    detail = f"opening balance {money_text(opening)} {currency} to {user_id}"
    return _line(new_id(), "", "open_account", "CREDITED", detail, actor, now)


def _line(
    line_id: str, provider: str, operation: str, verdict: str, detail: str, actor: Actor, now: datetime
) -> Exchange:
    return Exchange(
        id=line_id,
        direction=Direction.CALLER,
        provider=provider,
        operation=operation,
        started_at=now,
        ended_at=now,
        verdict=verdict,
        detail=detail,
        actor=actor,
    )
