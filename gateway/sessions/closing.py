"""Closing sessions at one provider: durable before it is sent, answered once it is durable, the same for all who ask.

One request_id is carried out by one flight at a time, whoever waits for it. A flight is a task of its own, so that a
caller's cancellation ends the caller's waiting and not the work.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec
import structlog
from msgspec import structs

from adapters.contract import Attempt, Certainty, Closed, CloseSession, HttpRequest, Outcome, ProviderAnswer
from gateway.outbound.deadline import Deadline
from gateway.sessions.attempt import CLOSE_SESSION, encode_close, gateway_error, mask_of, send_close
from gateway.sessions.failure import Failure, FieldViolation, Reason
from gateway.sessions.flight import Flight, Stage
from gateway.sessions.provider import Provider
from gateway.store.ids import new_id
from gateway.store.interface import Closures, ContentDiffers, StoreUnavailable
from gateway.store.records import (
    CloseRecord,
    Event,
    EventType,
    Exchange,
    Failed,
    ItemKind,
    ReconciliationItem,
    Settled,
    Target,
)
from gateway.telemetry.bugs import report_bug
from gateway.telemetry.logs import bind
from gateway.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

ANSWER_MARGIN_S = 0.050
"""A caller is answered this long before its deadline: with less, its own timer wins and the details are lost."""

WORK_MARGIN_S = 0.070
"""The provider's time ends this long before the caller's deadline: there must be time to answer, also many at once."""


CLOSE_UNKNOWN = "CLOSE_UNKNOWN"
"""The fault of an item whose close may or may not have been carried out."""


class CloseAnswer(msgspec.Struct, frozen=True):
    """A close that succeeded, as the caller is told."""

    request_id: str
    outcome: Outcome
    answer: ProviderAnswer
    end_time: datetime
    replayed: bool


class Closing:
    """Ends a player's sessions at one provider while the caller waits, idempotent by request_id."""

    def __init__(
        self, store: Closures, providers: Mapping[str, Provider], clock: Callable[[], datetime], metrics: Metrics
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._providers = providers
        self._clock = clock
        self._flights: dict[str, Flight[CloseAnswer]] = {}
        self._latest = math.inf

    async def close(
        self, request_id: str, provider: str, call: CloseSession, reason: str, deadline_at: float
    ) -> CloseAnswer:
        """End sessions. `deadline_at` is the caller's, by the loop's clock.

        Raises Failure, no later than ANSWER_MARGIN_S before the deadline.
        """
        bind(request_id=request_id, provider=provider)  # on every line that the call and its flight log
        try:
            answer = await self._close(request_id, provider, call, reason, deadline_at)
        except Failure as failure:
            failure.request_id = request_id
            failure.provider = provider
            # What a caller makes up does not become a label.
            known = provider if provider in self._providers else ""
            self._metrics.call(known, CLOSE_SESSION, failure.reason, failure.certainty)
            raise
        self._metrics.call(provider, CLOSE_SESSION, answer.outcome)
        return answer

    def hurry(self, until: float) -> None:
        """Let no provider's time be later than `until`, by the loop's clock: the gateway is stopping."""
        self._latest = until
        for flight in self._flights.values():
            flight.deadline.cap(until)

    async def drain(self) -> None:
        """Wait until nothing is in flight any more, and all of it is recorded."""
        while self._flights:
            await asyncio.wait([flight.task for flight in self._flights.values()])

    async def _close(
        self, request_id: str, name: str, call: CloseSession, reason: str, deadline_at: float
    ) -> CloseAnswer:
        target = Target(name, call.user_id, call.session_id, call.game_id, call.clear_history, reason)
        provider = self._providers.get(name)
        if provider is None:
            unknown = f"no provider '{name}' is configured: ListProviders tells which are"
            return await self._kept_or(Failure(Reason.PROVIDER_UNKNOWN, unknown), request_id, target)
        work_until, answer_by = min(deadline_at - WORK_MARGIN_S, self._latest), deadline_at - ANSWER_MARGIN_S
        while flight := self._flights.get(request_id):
            if field := flight.target.first_difference(target):
                raise _reused(request_id, field)
            if not flight.landed:
                flight.deadline.extend(work_until)
                return structs.replace(await flight.outcome(answer_by), replayed=True)
            await flight.finished(answer_by)  # landed and still being recorded: what comes next is another attempt
        if work_until <= asyncio.get_running_loop().time():
            no_time = f"nothing was sent, for the deadline leaves no time to ask {name}: give the call more time"
            return await self._kept_or(Failure(Reason.PROVIDER_UNREACHABLE, no_time), request_id, target)
        return await self._take_off(request_id, provider, call, target, work_until).outcome(answer_by)

    def _take_off(
        self, request_id: str, provider: Provider, call: CloseSession, target: Target, work_until: float
    ) -> Flight[CloseAnswer]:
        flight = Flight[CloseAnswer](target, Deadline(work_until))
        self._flights[request_id] = flight
        flight.task = asyncio.create_task(self._fly(flight, request_id, provider, call))
        flight.task.add_done_callback(lambda _: self._flights.pop(request_id))
        return flight

    async def _fly(self, flight: Flight[CloseAnswer], request_id: str, provider: Provider, call: CloseSession) -> None:
        """Carry a request out and land the flight: a success once it is kept, a failure as soon as it is known.

        A failure that is told before it is recorded loses nothing: until then the intent on disk means UNKNOWN.
        """
        try:
            begun = await self._begin(flight, request_id, provider, call)
            if isinstance(begun, CloseAnswer):
                flight.land(begun)
                return
            flight.stage = Stage.SENDING
            sent = await send_close(
                provider, request_id, call, begun.attempt, begun.request, flight.deadline, self._clock
            )
            flight.stage = Stage.RECORDING
            self._metrics.exchange(provider.name, sent.seconds)
            if isinstance(sent.result, Closed):
                flight.land(await self._settle(request_id, flight.target, sent.result, sent.exchange()))
            else:
                flight.land(_of_the_whole_call(sent.result, begun.earlier))
                await self._record_failure(request_id, flight.target, sent.result, begun.earlier, sent.exchange())
        except Failure as failure:
            flight.land(failure)
        except Exception as bug:  # noqa: BLE001 - whoever waits must be told, whatever happened
            certainty = Certainty.NOT_SENT if flight.stage is Stage.BEGINNING else Certainty.UNKNOWN
            flight.land(gateway_error(report_bug(bug, mask_of(provider, call)), certainty))

    async def _begin(
        self, flight: Flight[CloseAnswer], request_id: str, provider: Provider, call: CloseSession
    ) -> "CloseAnswer | _Begun":
        """Refuse what cannot be sent, then make the intent durable; a success kept from before is the answer."""
        first = Attempt(1, new_id(), self._clock())
        try:
            request = encode_close(provider, call, first)
        except Failure as refusal:
            return await self._kept_or(refusal, request_id, flight.target)
        record = await self._intend(flight, request_id)
        if record.settled:
            return _kept(request_id, record.settled)
        if record.attempts == first.number:
            return _Begun(first, request, record.certainty)
        attempt = Attempt(record.attempts, new_id(), self._clock())
        try:
            return _Begun(attempt, encode_close(provider, call, attempt), record.certainty)
        except Failure as refusal:
            await self._record_failure(request_id, flight.target, refusal, record.certainty)
            raise

    async def _intend(self, flight: Flight[CloseAnswer], request_id: str) -> CloseRecord:
        """Make the intent durable within the provider's time. Raises Failure; then nothing is sent, and so recorded."""
        refusal = Failure(
            Reason.STORE_UNAVAILABLE,
            "nothing was sent, for the gateway's store did not take the request: repeat the call",
        )
        try:
            with flight.landing_at_deadline(refusal):
                record = await self._store.begin_close(request_id, flight.target, self._clock())
        except ContentDiffers as differs:
            raise _reused(request_id, differs.field) from None
        except StoreUnavailable as error:
            log.warning("intent not recorded", detail=str(error))
            raise refusal from error
        if not flight.landed:
            return record
        # The store took it too late. Without a conclusion it would stand for an attempt that may have been sent.
        if not record.settled:
            await self._record_failure(request_id, flight.target, refusal, record.certainty)
        raise refusal

    async def _kept_or(self, refusal: Failure, request_id: str, target: Target) -> CloseAnswer:
        """What was closed once is answered again, even where it could not be sent any more (its token is not kept)."""
        try:
            record = await self._store.find_close(request_id)
        except StoreUnavailable:
            raise refusal from None
        if record is None:
            raise refusal
        if field := record.target.first_difference(target):
            raise _reused(request_id, field)
        if record.settled is None:
            raise refusal
        return _kept(request_id, record.settled)

    async def _settle(self, request_id: str, target: Target, closed: Closed, exchange: Exchange) -> CloseAnswer:
        settled = Settled(closed.outcome, closed.answer, exchange.ended_at)
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
            raise Failure(
                Reason.STORE_UNAVAILABLE,
                f"{target.provider} answered '{closed.outcome}', but the gateway's store did not take the record: "
                "repeat the call with the same request_id",
                certainty=Certainty.UNKNOWN,
                provider_code=closed.answer.code,
            ) from error
        return CloseAnswer(request_id, settled.outcome, settled.answer, settled.end_time, replayed=False)

    async def _record_failure(
        self,
        request_id: str,
        target: Target,
        failure: Failure,
        earlier: Certainty | None,
        exchange: Exchange | None = None,
    ) -> None:
        """Conclude an attempt. What the ones before it left unknown it may not have settled, and then a person must."""
        failed = Failed(
            reason=str(failure.reason),
            certainty=failure.certainty or Certainty.UNKNOWN,
            detail=failure.message,
            end_time=exchange.ended_at if exchange else self._clock(),
        )
        item = None
        if Certainty.UNKNOWN in {failed.certainty, earlier}:
            item = _close_unknown(request_id, target, failed, exchange.id if exchange else "")
        try:
            await self._store.fail_close(request_id, failed, exchange, item)
        except StoreUnavailable as error:
            log.warning("failed attempt not recorded", reason=failed.reason, error=str(error))


class _Begun(msgspec.Struct, frozen=True):
    """An attempt whose intent is durable."""

    attempt: Attempt
    request: HttpRequest
    earlier: Certainty | None
    """The certainty of the attempts before this one."""


def _kept(request_id: str, settled: Settled) -> CloseAnswer:
    return CloseAnswer(request_id, settled.outcome, settled.answer, settled.end_time, replayed=True)


def _reused(request_id: str, field: str) -> Failure:
    return Failure(
        Reason.REQUEST_ID_REUSED,
        f"request_id {request_id} stands for a request with another {field}: use a new id for a new request",
        violations=(FieldViolation(field, "differs from the first request with this request_id"),),
        details=(("field", field),),
    )


def _close_unknown(request_id: str, target: Target, failed: Failed, exchange_id: str) -> ReconciliationItem:
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
        kind=ItemKind.CLOSE_UNKNOWN,
    )


def _of_the_whole_call(failure: Failure, earlier: Certainty | None) -> Failure:
    """Once one attempt may have been carried out, a later refusal does not prove that nothing was."""
    if earlier is not Certainty.UNKNOWN or failure.certainty is Certainty.UNKNOWN:
        return failure
    return failure.with_certainty(Certainty.UNKNOWN)
