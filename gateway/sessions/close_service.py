"""Closing sessions at one provider: durable before it is sent, answered once it is durable, the same for all who ask.

One request_id is carried out by one flight at a time, whoever waits for it. A flight is a task of its own, so that a
caller's cancellation ends the caller's waiting and not the work.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from time import monotonic

from msgspec import structs

from adapters.contract import CloseSession
from gateway.outbound.deadline import Deadline
from gateway.sessions.attempt import CLOSE_SESSION
from gateway.sessions.close_execution import CloseExecution
from gateway.sessions.close_recorder import CloseAnswer, CloseRecorder, request_id_conflict
from gateway.sessions.errors import GatewayError, Reason, provider_unknown
from gateway.sessions.in_flight import InFlightClose
from gateway.sessions.provider import Provider
from gateway.store.base import CloseStore
from gateway.store.models import Target
from gateway.telemetry.logs import bind
from gateway.telemetry.metrics import Metrics

ANSWER_MARGIN_S = 0.050
"""A caller is answered this long before its deadline: with less, its own timer wins and the details are lost."""

WORK_MARGIN_S = 0.070
"""The provider's time ends this long before the caller's deadline: there must be time to answer, also many at once."""


class CloseService:
    """Ends a player's sessions at one provider while the caller waits, idempotent by request_id."""

    def __init__(
        self, store: CloseStore, providers: Mapping[str, Provider], clock: Callable[[], datetime], metrics: Metrics
    ) -> None:
        self._metrics = metrics
        self._providers = providers
        self._recording = CloseRecorder(store, clock)
        self._carrying = CloseExecution(self._recording, clock, metrics)
        self._flights: dict[str, InFlightClose[CloseAnswer]] = {}
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
        except GatewayError as failure:
            failure.request_id = request_id
            failure.provider = provider
            # What a caller makes up does not become a label.
            known = provider if provider in self._providers else ""
            self._metrics.call(known, CLOSE_SESSION, failure.reason, failure.certainty)
            raise
        self._metrics.call(provider, CLOSE_SESSION, answer.outcome)
        return answer

    def cap_deadlines(self, until: float) -> None:
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
        started = monotonic()
        work_until, answer_by = min(deadline_at - WORK_MARGIN_S, self._latest), deadline_at - ANSWER_MARGIN_S
        target = Target(name, call.user_id, call.session_id, call.game_id, call.clear_history, reason)
        provider = self._providers.get(name)
        if provider is None:
            return await self._stored_success_or_raise(provider_unknown(name), request_id, target, answer_by)
        while flight := self._flights.get(request_id):
            if field := flight.target.first_difference(target):
                raise request_id_conflict(request_id, field)
            if not flight.done and not flight.abandoned:
                flight.deadline.extend(work_until)
                return structs.replace(await flight.outcome(answer_by), replayed=True)
            # Landed and still being recorded, or given up by whoever asked: what comes next is another flight.
            await flight.wait_recorded(answer_by)
        if work_until <= asyncio.get_running_loop().time():
            no_time = f"nothing was sent, for the deadline leaves no time to ask {name}: give the call more time"
            return await self._stored_success_or_raise(
                GatewayError(Reason.PROVIDER_UNREACHABLE, no_time), request_id, target, answer_by
            )
        flight = self._start_close(request_id, provider, call, target, work_until)
        try:
            answer = await flight.outcome(answer_by)
        except GatewayError:
            self._metrics.latency(name, monotonic() - started, flight.seconds_asked())
            raise
        self._metrics.latency(name, monotonic() - started, flight.seconds_asked())
        return answer

    async def _stored_success_or_raise(
        self, refusal: GatewayError, request_id: str, target: Target, answer_by: float
    ) -> CloseAnswer:
        """What is kept, or the refusal; the refusal too where the store does not tell by `answer_by`. A caller without
        time has that of a short look all the same.
        """
        at_least = asyncio.get_running_loop().time() + WORK_MARGIN_S - ANSWER_MARGIN_S
        try:
            async with asyncio.timeout_at(max(answer_by, at_least)):
                return await self._recording.stored_success_or_raise(refusal, request_id, target)
        except TimeoutError:
            raise refusal from None

    def _start_close(
        self, request_id: str, provider: Provider, call: CloseSession, target: Target, work_until: float
    ) -> InFlightClose[CloseAnswer]:
        flight = InFlightClose[CloseAnswer](request_id, target, Deadline(work_until))
        self._flights[request_id] = flight
        flight.task = asyncio.create_task(self._carrying.run(flight, provider, call))
        flight.task.add_done_callback(lambda _: self._flights.pop(request_id))
        return flight
