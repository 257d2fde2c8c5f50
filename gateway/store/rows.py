"""Rows of the tables as typed values, and back: the same on every engine, but for times, money and free text."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from adapters.contract import Certainty, Outcome, ProviderAnswer
from gateway.store.models import (
    Actor,
    CloseRecord,
    CloseSuccess,
    Credit,
    CreditKind,
    Direction,
    Event,
    EventType,
    Exchange,
    Message,
    Posting,
    ProviderStateChange,
    Redelivery,
    Target,
)
from gateway.store.reconciliation import ReconciliationItem, ReconciliationKind, Resolution

EXCHANGE_COLUMNS = """
id, direction, provider, operation, method, path, request_head, request_body, reply_head, reply_body, started_at,
ended_at, verdict, request_id, attempt, status, certainty, detail, peer, attempt_uuid, redelivery_of, redelivered_by,
redelivery_why, trimmed, actor, on_behalf_of
"""

EVENT_COLUMNS = "id, type, time, provider, user_id, session_id, request_id, reference"

ITEM_COLUMNS = "id, provider, reference, fault, field, detail, user_id, created_at, exchange_id, kind"

CREDIT_COLUMNS = """
provider, reference, kind, transaction_id, user_id, currency, amount, round_id, game_id, session_id, promo_amount,
promo_reference, created_at
"""

STATE_CHANGE_COLUMNS = "id, provider, number, switched_at, switched_by, reason, on_behalf_of"

CLOSE_COLUMNS = """
request_id, user_id, clear_history, reason, actor, on_behalf_of, provider, session_id, game_id, attempts, under_way,
certainty, outcome, answer_code, answer_description, answer_http_status, end_time
"""

Values = tuple[Any, ...]
"""The values of one row, in the order of its columns."""


class Row(Protocol):
    """A row that was read, as both drivers return it."""

    def __getitem__(self, key: str, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


@dataclass(frozen=True, slots=True)
class RowCodec:
    """Encodes and decodes rows. Its functions say how an engine's columns hold times, money and free text."""

    time: Callable[[datetime], Any]
    """Encodes a time. Raises ValueError for a naive one."""
    time_of: Callable[[Any], datetime]
    money: Callable[[Decimal], Any]
    money_of: Callable[[Any], Decimal]
    text: Callable[[str], str]
    """Encodes text that a provider or an operator wrote: it is stored, whatever characters it has."""

    def exchange_values(self, exchange: Exchange) -> Values:
        """In the order of EXCHANGE_COLUMNS."""
        text, redelivery = self.text, exchange.redelivery
        return (
            exchange.id,
            exchange.direction.value,
            exchange.provider,
            text(exchange.operation),
            text(exchange.method),
            text(exchange.path),
            text(exchange.request.head),
            exchange.request.body,
            text(exchange.reply.head),
            exchange.reply.body,
            self.time(exchange.started_at),
            self.time(exchange.ended_at),
            text(exchange.verdict),
            exchange.request_id,
            exchange.attempt,
            exchange.status,
            exchange.certainty.value if exchange.certainty is not None else None,
            text(exchange.detail),
            exchange.peer,
            exchange.attempt_uuid,
            redelivery.exchange_id if redelivery is not None else "",
            text(exchange.actor.caller) if redelivery is not None else "",
            text(redelivery.reason) if redelivery is not None else "",
            exchange.trimmed,
            *self.actor_values(exchange.actor),
        )

    def exchange(self, row: Row) -> Exchange:
        """The journal line in a row."""
        redelivery = None
        if row["redelivery_of"]:
            redelivery = Redelivery(row["redelivery_of"], row["redelivery_why"])
        return Exchange(
            id=row["id"],
            direction=Direction(row["direction"]),
            provider=row["provider"],
            operation=row["operation"],
            method=row["method"],
            path=row["path"],
            request=Message(row["request_head"], row["request_body"]),
            started_at=self.time_of(row["started_at"]),
            ended_at=self.time_of(row["ended_at"]),
            verdict=row["verdict"],
            request_id=row["request_id"],
            attempt=row["attempt"],
            status=row["status"],
            reply=Message(row["reply_head"], row["reply_body"]),
            certainty=certainty_of(row["certainty"]),
            detail=row["detail"],
            peer=row["peer"],
            attempt_uuid=row["attempt_uuid"],
            redelivery=redelivery,
            trimmed=bool(row["trimmed"]),
            # A release before the column `actor` wrote only `redelivered_by`.
            actor=Actor(row["actor"] or row["redelivered_by"], row["on_behalf_of"]),
        )

    def event_values(self, event: Event) -> Values:
        """In the order of EVENT_COLUMNS."""
        return (
            event.id,
            event.type.value,
            self.time(event.time),
            self.text(event.provider),
            self.text(event.user_id),
            self.text(event.session_id),
            self.text(event.request_id),
            self.text(event.reference),
        )

    def event(self, row: Row) -> Event:
        """The event in a row."""
        return Event(
            id=row["id"],
            type=EventType(row["type"]),
            time=self.time_of(row["time"]),
            provider=row["provider"],
            user_id=row["user_id"],
            session_id=row["session_id"],
            request_id=row["request_id"],
            reference=row["reference"],
        )

    def item_values(self, item: ReconciliationItem) -> Values:
        """In the order of ITEM_COLUMNS."""
        return (
            item.id,
            item.provider,
            item.reference,
            item.fault,
            item.field,
            self.text(item.detail),
            item.user_id,
            self.time(item.created_at),
            item.exchange_id,
            item.kind.value,
        )

    def item(self, row: Row) -> ReconciliationItem:
        """The reconciliation item in a row."""
        resolution = None
        if row["resolved_at"] is not None:
            actor = Actor(row["resolved_by"], row["resolved_on_behalf_of"])
            resolution = Resolution(self.time_of(row["resolved_at"]), actor, row["resolution"])
        return ReconciliationItem(
            id=row["id"],
            provider=row["provider"],
            reference=row["reference"],
            fault=row["fault"],
            field=row["field"],
            detail=row["detail"],
            user_id=row["user_id"],
            created_at=self.time_of(row["created_at"]),
            exchange_id=row["exchange_id"],
            kind=ReconciliationKind(row["kind"]),
            resolution=resolution,
        )

    def credit_values(self, credit: Credit) -> Values:
        """In the order of CREDIT_COLUMNS."""
        content = credit.content
        return (
            content.provider,
            content.reference,
            credit.kind.value,
            credit.transaction_id,
            content.user_id,
            content.currency,
            self.money(content.amount),
            content.round_id,
            content.game_id,
            content.session_id,
            self.money(content.promo_amount) if content.promo_amount is not None else None,
            content.promo_reference,
            self.time(credit.created_at),
        )

    def credit(self, row: Row) -> Credit:
        """The transaction in a row of CREDIT_COLUMNS, read by position: a batch of postings may read many."""
        provider, reference, kind, transaction_id, user_id, currency, amount, *others = row
        round_id, game_id, session_id, promo_amount, promo_reference, created_at = others
        content = Posting(
            provider,
            reference,
            user_id,
            currency,
            self.money_of(amount),
            round_id,
            game_id,
            session_id,
            self.money_of(promo_amount) if promo_amount is not None else None,
            promo_reference,
        )
        return Credit(CreditKind(kind), transaction_id, content, self.time_of(created_at))

    def state_change_values(self, change: ProviderStateChange) -> Values:
        """In the order of STATE_CHANGE_COLUMNS."""
        return (
            change.id,
            change.provider,
            change.number,
            self.time(change.at),
            self.text(change.actor.caller),
            self.text(change.reason),
            self.text(change.actor.on_behalf_of),
        )

    def state_change(self, row: Row) -> ProviderStateChange:
        """The change of a provider's state in a row."""
        return ProviderStateChange(
            id=row["id"],
            provider=row["provider"],
            number=row["number"],
            at=self.time_of(row["switched_at"]),
            actor=Actor(row["switched_by"], row["on_behalf_of"]),
            reason=row["reason"],
        )

    def close_success_values(self, success: CloseSuccess) -> Values:
        """Of the columns outcome, answer_code, answer_description, answer_http_status, end_time."""
        answer = success.answer
        return (
            success.outcome.value,
            self.text(answer.code),
            self.text(answer.description),
            answer.http_status,
            self.time(success.end_time),
        )

    def close_record(self, row: Row) -> CloseRecord:
        """The close in a row of CLOSE_COLUMNS. An attempt in progress may have been cut off: it is UNKNOWN."""
        settled = None
        if row["outcome"] is not None:
            answer = ProviderAnswer(row["answer_code"], row["answer_description"], row["answer_http_status"])
            settled = CloseSuccess(Outcome(row["outcome"]), answer, self.time_of(row["end_time"]))
        certainty = Certainty.UNKNOWN if row["under_way"] else certainty_of(row["certainty"])
        return CloseRecord(
            request_id=row["request_id"],
            target=Target(
                provider=row["provider"],
                user_id=row["user_id"],
                session_id=row["session_id"],
                game_id=row["game_id"],
                clear_history=bool(row["clear_history"]),
                reason=row["reason"],
            ),
            attempts=row["attempts"],
            settled=settled,
            certainty=certainty if settled is None else None,
            actor=Actor(row["actor"], row["on_behalf_of"]),
        )

    def actor_values(self, actor: Actor) -> Values:
        """Of two columns: the caller, and the person on whose behalf it acted."""
        return (self.text(actor.caller), self.text(actor.on_behalf_of))


def certainty_of(text: str | None) -> Certainty | None:
    """The certainty in a column, which may be NULL."""
    return Certainty(text) if text is not None else None
