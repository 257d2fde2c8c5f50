"""CloseSession: recorded before it is sent, answered once the outcome is recorded, idempotent by request_id.

One execution at a time exists for a request_id. Callers with the same request_id share it.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from time import monotonic

from msgspec import structs

from adapters.contract import CloseSession
from gateway.masking.large_bodies import LargeBodies
from gateway.outbound.deadline import Deadline
from gateway.sessions.attempt import CLOSE_SESSION
from gateway.sessions.close_execution import CloseExecution
from gateway.sessions.close_recorder import CloseAnswer, CloseRecorder, request_id_conflict
from gateway.sessions.errors import GatewayError, Reason, provider_unknown
from gateway.sessions.provider import Provider
from gateway.store.base import CloseStore
from gateway.store.models import Actor, Target
from gateway.telemetry.logs import bind
from gateway.telemetry.metrics import Metrics

ANSWER_MARGIN_S = 0.050
"""Seconds before its deadline at which a caller is answered. With less its own timer wins and the details are lost."""

WORK_MARGIN_S = 0.070
"""Seconds before the caller's deadline at which the provider's time ends. The rest is for answering, many at once."""

SMALL_BYTES = 64 * 1024
"""A larger answer is decoded and masked on a thread."""


class CloseService:
    """Ends a player's sessions at one provider while the caller waits."""

    def __init__(
        self, store: CloseStore, providers: Mapping[str, Provider], clock: Callable[[], datetime], metrics: Metrics
    ) -> None:
        self._metrics = metrics
        self._providers = providers
        self._clock = clock
        self._recorder = CloseRecorder(store, clock)
        self._large_bodies = LargeBodies(SMALL_BYTES)
        self._executions: dict[str, CloseExecution] = {}
        self._latest = math.inf

    async def close(
        self, request_id: str, provider: str, call: CloseSession, reason: str, deadline_at: float, actor: Actor
    ) -> CloseAnswer:
        """End sessions. `deadline_at` is the caller's deadline, by the loop's clock.

        `actor` is not compared: another may repeat the call. The intent keeps the first; a line of the journal has the
        one whose call made the attempt.

        Raises GatewayError, at the latest ANSWER_MARGIN_S before the deadline.
        """
        bind(request_id=request_id, provider=provider)  # in every log line of the call and of its execution
        try:
            answer = await self._close(request_id, provider, call, reason, deadline_at, actor)
        except GatewayError as error:
            self._metrics.call(self._label(provider), CLOSE_SESSION, error.reason, error.certainty)
            raise error.replace(request_id=request_id, provider=provider) from None
        self._metrics.call(self._label(provider), CLOSE_SESSION, answer.outcome)
        return answer

    def _label(self, provider: str) -> str:
        """The metrics' label: a name that a caller made up, or that is no longer configured, does not become one."""
        return provider if provider in self._providers else ""

    def find(self, request_id: str) -> CloseExecution | None:
        """The execution in progress for a request_id."""
        return self._executions.get(request_id)

    def cap_deadlines(self, until: float) -> None:
        """End every provider's time at `until` (the loop's clock), also of later calls: the gateway is stopping."""
        self._latest = until
        for execution in self._executions.values():
            execution.deadline.cap(until)

    async def drain(self) -> None:
        """Wait until every execution has ended and is recorded."""
        while self._executions:
            await asyncio.wait([execution.task for execution in self._executions.values()])

    async def _close(
        self, request_id: str, name: str, call: CloseSession, reason: str, deadline_at: float, actor: Actor
    ) -> CloseAnswer:
        started = monotonic()
        work_until, answer_by = min(deadline_at - WORK_MARGIN_S, self._latest), deadline_at - ANSWER_MARGIN_S
        target = Target(name, call.user_id, call.session_id, call.game_id, call.clear_history, reason)
        provider = self._providers.get(name)
        if provider is None:
            return await self._stored_success_or_raise(provider_unknown(name), request_id, target, answer_by)
        while execution := self._executions.get(request_id):
            if field := execution.target.first_difference(target):
                raise request_id_conflict(request_id, field)
            if not execution.done and not execution.abandoned:
                execution.deadline.extend(work_until)
                return structs.replace(await execution.wait(answer_by), replayed=True)
            # It has failed and is being recorded, or its callers left: this call needs another execution.
            await execution.wait_recorded(answer_by)
        if work_until <= asyncio.get_running_loop().time():
            no_time = f"nothing was sent, because the deadline leaves no time to ask {name}: give the call more time"
            return await self._stored_success_or_raise(
                GatewayError(Reason.PROVIDER_UNREACHABLE, no_time), request_id, target, answer_by
            )
        execution = CloseExecution(
            request_id,
            target,
            actor,
            provider,
            call,
            Deadline(work_until),
            self._recorder,
            self._clock,
            self._metrics,
            self._large_bodies,
        )
        self._executions[request_id] = execution
        execution.start().add_done_callback(lambda _: self._executions.pop(request_id))
        try:
            answer = await execution.wait(answer_by)
        except GatewayError:
            self._metrics.latency(name, monotonic() - started, execution.provider_time_s)
            raise
        self._metrics.latency(name, monotonic() - started, execution.provider_time_s)
        return answer

    async def _stored_success_or_raise(
        self, error: GatewayError, request_id: str, target: Target, answer_by: float
    ) -> CloseAnswer:
        """The stored success. Raises `error` where there is none or the store does not answer by `answer_by`. A caller
        without time left still waits for the store, for 20 ms.
        """
        at_least = asyncio.get_running_loop().time() + WORK_MARGIN_S - ANSWER_MARGIN_S
        try:
            async with asyncio.timeout_at(max(answer_by, at_least)):
                return await self._recorder.stored_success_or_raise(error, request_id, target)
        except TimeoutError:
            raise error from None
