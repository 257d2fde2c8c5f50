"""What the store records of a close: the intent before anything is sent, each attempt, the outcome."""

from collections.abc import Callable
from datetime import datetime

import msgspec
import structlog

from adapters.contract import Certainty, Closed, Outcome, ProviderAnswer
from gateway.sessions.errors import FieldViolation, GatewayError, Reason
from gateway.store.base import CloseStore, ContentDiffers, StoreUnavailable
from gateway.store.closures import combine_certainty
from gateway.store.ids import new_id
from gateway.store.models import (
    Actor,
    CloseFailure,
    CloseRecord,
    CloseSuccess,
    Event,
    EventType,
    Exchange,
    Target,
)
from gateway.store.reconciliation import ReconciliationItem, ReconciliationKind

log = structlog.get_logger(__name__)

CLOSE_UNKNOWN = "CLOSE_UNKNOWN"
"""The fault of a reconciliation item whose close may or may not have happened."""


class CloseAnswer(msgspec.Struct, frozen=True):
    """A close that succeeded, as its callers receive it."""

    request_id: str
    outcome: Outcome
    answer: ProviderAnswer
    end_time: datetime
    replayed: bool


class CloseRecorder:
    """Reads and writes the records of closes."""

    def __init__(self, store: CloseStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def record_intent(self, request_id: str, target: Target, actor: Actor) -> CloseRecord:
        """Make the intent durable. Raises StoreUnavailable, and GatewayError where the request_id has another target;
        then nothing may be sent.
        """
        try:
            return await self._store.begin_close(request_id, target, self._clock(), actor)
        except ContentDiffers as differs:
            raise request_id_conflict(request_id, differs.field) from None

    async def stored_success_or_raise(self, error: GatewayError, request_id: str, target: Target) -> CloseAnswer:
        """The stored success of a request that cannot be sent again, for example because its token is not stored.

        Raises `error` where there is none.
        """
        try:
            record = await self._store.find_close(request_id)
        except StoreUnavailable:
            raise error from None
        if record is None:
            raise error
        if field := record.target.first_difference(target):
            raise request_id_conflict(request_id, field)
        if record.settled is None:
            raise with_overall_certainty(error, record.certainty)
        return replayed_answer(request_id, record.settled)

    async def record_success(self, request_id: str, target: Target, closed: Closed, exchange: Exchange) -> CloseAnswer:
        """Make a success durable. Raises GatewayError where the store is unavailable."""
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
            log.warning("outcome not recorded", outcome=closed.outcome, error=str(error))
            raise GatewayError(
                Reason.STORE_UNAVAILABLE,
                f"{target.provider} answered '{closed.outcome}', but the gateway's store could not record it: "
                "repeat the call with the same request_id",
                certainty=Certainty.UNKNOWN,
                provider_code=closed.answer.code,
            ) from error
        return CloseAnswer(request_id, settled.outcome, settled.answer, settled.end_time, replayed=False)

    async def record_failure(
        self,
        request_id: str,
        target: Target,
        error: GatewayError,
        earlier: Certainty | None,
        exchange: Exchange | None = None,
    ) -> bool:
        """Record a failed attempt; False where the store is unavailable. `earlier` is the certainty of the attempts
        before it. Where the outcome is unknown, a reconciliation item is opened for an operator.
        """
        failed = CloseFailure(
            reason=str(error.reason),
            certainty=error.certainty or Certainty.UNKNOWN,
            detail=error.message,
            end_time=exchange.ended_at if exchange else self._clock(),
        )
        item = None
        if Certainty.UNKNOWN in {failed.certainty, earlier}:
            item = _close_unknown(request_id, target, failed, exchange.id if exchange else "")
        try:
            await self._store.fail_close(request_id, failed, exchange, item)
        except StoreUnavailable as unavailable:
            log.warning("failed attempt not recorded", reason=failed.reason, error=str(unavailable))
            return False
        return True


def replayed_answer(request_id: str, settled: CloseSuccess) -> CloseAnswer:
    """The answer to a request that succeeded before."""
    return CloseAnswer(request_id, settled.outcome, settled.answer, settled.end_time, replayed=True)


def request_id_conflict(request_id: str, field: str) -> GatewayError:
    """The request_id was used for another content."""
    return GatewayError(
        Reason.REQUEST_ID_REUSED,
        f"request_id {request_id} was used for a request with another {field}: use a new id for a new request",
        violations=(FieldViolation(field, "differs from the first request with this request_id"),),
        details=(("field", field),),
    )


def with_overall_certainty(error: GatewayError, earlier: Certainty | None) -> GatewayError:
    """The error with the certainty of all attempts: that a later attempt was not sent does not prove that an earlier
    one had no effect.
    """
    overall = combine_certainty(earlier, error.certainty or Certainty.NOT_SENT)
    return error if overall is error.certainty else error.replace(certainty=overall)


def _close_unknown(request_id: str, target: Target, failed: CloseFailure, exchange_id: str) -> ReconciliationItem:
    """The item for an operator where it is unknown whether the provider closed the sessions."""
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
