"""What is kept of a close: the intent before anything is sent, each attempt, the outcome."""

from collections.abc import Callable
from datetime import datetime

import msgspec
import structlog

from adapters.contract import Certainty, Closed, Outcome, ProviderAnswer
from gateway.sessions.errors import FieldViolation, GatewayError, Reason
from gateway.sessions.in_flight import InFlightClose
from gateway.store.base import CloseStore, ContentDiffers, StoreUnavailable
from gateway.store.closures import combine_certainty
from gateway.store.ids import new_id
from gateway.store.models import (
    CloseFailure,
    CloseRecord,
    CloseSuccess,
    Event,
    EventType,
    Exchange,
    ReconciliationItem,
    ReconciliationKind,
    Target,
)

log = structlog.get_logger(__name__)

CLOSE_UNKNOWN = "CLOSE_UNKNOWN"
"""The fault of an item whose close may or may not have been carried out."""


class CloseAnswer(msgspec.Struct, frozen=True):
    """A close that succeeded, as the caller is told."""

    request_id: str
    outcome: Outcome
    answer: ProviderAnswer
    end_time: datetime
    replayed: bool


class CloseRecorder:
    """The store, as closing a session needs it."""

    def __init__(self, store: CloseStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def record_intent(self, flight: InFlightClose[CloseAnswer]) -> CloseRecord:
        """Make the intent durable within the provider's time. Raises Failure; then nothing is sent, and so recorded."""
        refusal = flight.last or GatewayError(
            Reason.STORE_UNAVAILABLE,
            "nothing was sent, for the gateway's store did not take the request: repeat the call",
        )
        try:
            with flight.fail_at_deadline(refusal):
                record = await self._store.begin_close(flight.request_id, flight.target, self._clock())
        except ContentDiffers as differs:
            raise request_id_conflict(flight.request_id, differs.field) from None
        except StoreUnavailable as error:
            log.warning("intent not recorded", detail=str(error))
            raise refusal from error
        if not flight.done and not flight.abandoned:
            return record
        # The store took it too late, or nobody waits any more. Without a conclusion it would stand for an attempt that
        # may have been sent.
        if not record.settled:
            await self.record_failure(flight, _unsent(flight, refusal), record.certainty)
        raise refusal

    async def stored_success_or_raise(self, refusal: GatewayError, request_id: str, target: Target) -> CloseAnswer:
        """What was closed once is answered again, even where it could not be sent any more (its token is not kept)."""
        try:
            record = await self._store.find_close(request_id)
        except StoreUnavailable:
            raise refusal from None
        if record is None:
            raise refusal
        if field := record.target.first_difference(target):
            raise request_id_conflict(request_id, field)
        if record.settled is None:
            raise with_overall_certainty(refusal, record.certainty)
        return replayed_answer(request_id, record.settled)

    async def record_success(
        self, flight: InFlightClose[CloseAnswer], closed: Closed, exchange: Exchange
    ) -> CloseAnswer:
        """Keep a success. Raises Failure where the store does not take it."""
        request_id, target = flight.request_id, flight.target
        settled = CloseSuccess(closed.outcome, closed.answer, exchange.ended_at)
        event = None
        if closed.outcome is Outcome.CLOSED:
            event = Event(
                id=new_id(),
                type=EventType.SESSION_CLOSED,
                time=exchange.ended_at,
                provider=target.provider,
                user_id=target.user_id,
                session_id=target.session_id,
                request_id=request_id,
            )
        try:
            await self._store.settle_close(request_id, settled, exchange, event)
        except StoreUnavailable as error:
            log.warning("outcome not recorded", outcome=closed.outcome, detail=str(error))
            raise GatewayError(
                Reason.STORE_UNAVAILABLE,
                f"{target.provider} answered '{closed.outcome}', but the gateway's store did not take the record: "
                "repeat the call with the same request_id",
                certainty=Certainty.UNKNOWN,
                provider_code=closed.answer.code,
            ) from error
        return CloseAnswer(request_id, settled.outcome, settled.answer, settled.end_time, replayed=False)

    async def record_failure(
        self,
        flight: InFlightClose[CloseAnswer],
        failure: GatewayError,
        earlier: Certainty | None,
        exchange: Exchange | None = None,
    ) -> bool:
        """Conclude an attempt; False where the store does not take it. What the ones before it left unknown it may not
        have settled, and then a person must.
        """
        failed = CloseFailure(
            reason=str(failure.reason),
            certainty=failure.certainty or Certainty.UNKNOWN,
            detail=failure.message,
            end_time=exchange.ended_at if exchange else self._clock(),
        )
        item = None
        if Certainty.UNKNOWN in {failed.certainty, earlier}:
            item = _close_unknown(flight.request_id, flight.target, failed, exchange.id if exchange else "")
        try:
            await self._store.fail_close(flight.request_id, failed, exchange, item)
        except StoreUnavailable as error:
            log.warning("failed attempt not recorded", reason=failed.reason, error=str(error))
            return False
        return True


def replayed_answer(request_id: str, settled: CloseSuccess) -> CloseAnswer:
    """A success of before, answered again."""
    return CloseAnswer(request_id, settled.outcome, settled.answer, settled.end_time, replayed=True)


def request_id_conflict(request_id: str, field: str) -> GatewayError:
    """The request_id stands for another content."""
    return GatewayError(
        Reason.REQUEST_ID_REUSED,
        f"request_id {request_id} stands for a request with another {field}: use a new id for a new request",
        violations=(FieldViolation(field, "differs from the first request with this request_id"),),
        details=(("field", field),),
    )


def with_overall_certainty(failure: GatewayError, earlier: Certainty | None) -> GatewayError:
    """The failure with the certainty of all attempts: what was carried out perhaps, or was received and refused, is not
    unsent because a later attempt was.
    """
    whole = combine_certainty(earlier, failure.certainty or Certainty.NOT_SENT)
    return failure if whole is failure.certainty else failure.with_certainty(whole)


def _unsent(flight: InFlightClose[CloseAnswer], refusal: GatewayError) -> GatewayError:
    """Why an attempt that was begun was not sent."""
    if flight.abandoned:
        return GatewayError(Reason.CALLER_GONE, "nothing was sent, for whoever asked had gone before it could be")
    if flight.last is not None:
        return GatewayError(refusal.reason, "nothing was sent once more, for the call's time was over")
    return refusal


def _close_unknown(request_id: str, target: Target, failed: CloseFailure, exchange_id: str) -> ReconciliationItem:
    """What a person must look at where nobody knows whether the provider has closed."""
    provider, user_id = target.provider, target.user_id
    return ReconciliationItem(
        id=new_id(),
        provider=provider,
        reference=request_id,
        fault=CLOSE_UNKNOWN,
        field="",
        detail=(
            f"whether {provider} has closed the sessions of player {user_id} is not known "
            f"(the last attempt: {failed.detail}): "
            f"repeat the call with the same request_id, or ask {provider} and resolve this item"
        ),
        user_id=user_id,
        created_at=failed.end_time,
        exchange_id=exchange_id,
        kind=ReconciliationKind.CLOSE_UNKNOWN,
    )
