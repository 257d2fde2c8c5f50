"""One CloseSession in progress: its attempts at the provider, its result, and the callers that wait for it."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from enum import Enum, auto
from functools import partial
from time import monotonic
from typing import Any

import structlog

from adapters.contract import Attempt, Certainty, Closed, CloseSession
from gateway.masking.large_bodies import LargeBodies
from gateway.outbound.admission import MIN_ATTEMPT_TIME_S, AdmissionRefused, Permit
from gateway.outbound.circuit_breaker import Circuit
from gateway.outbound.deadline import Deadline
from gateway.outbound.retry import backoff_s
from gateway.sessions.attempt import AttemptResult, encode_close, internal_error, is_idempotent, mask_of, send_close
from gateway.sessions.close_recorder import CloseAnswer, CloseRecorder, replayed_answer, with_overall_certainty
from gateway.sessions.errors import REASON_BY_ADMISSION_FAULT, RETRYABLE, GatewayError, Reason, provider_failed
from gateway.sessions.provider import Provider
from gateway.store.base import StoreUnavailable
from gateway.store.ids import new_id
from gateway.store.models import Actor, CloseRecord, Target
from gateway.telemetry.errors import log_unexpected_error
from gateway.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


class ClosePhase(Enum):
    """The phase of the attempt in progress. It decides which error a caller receives at its deadline."""

    PREPARING = auto()
    """Waiting for admission or for the intent to be durable. Nothing of this attempt is sent."""
    SENDING = auto()
    """The request is sent to the provider."""
    RECORDING = auto()
    """The provider has answered, and the outcome is being made durable."""


class CloseExecution:
    """Executes one CloseSession in one or more attempts. It has one result, which all waiting callers receive."""

    task: asyncio.Task[None]
    """Runs until the result is recorded; set by `start`."""

    def __init__(
        self,
        request_id: str,
        target: Target,
        actor: Actor,
        provider: Provider,
        call: CloseSession,
        deadline: Deadline,
        recorder: CloseRecorder,
        clock: Callable[[], datetime],
        metrics: Metrics,
        large_bodies: LargeBodies,
    ) -> None:
        self.request_id = request_id
        self.target = target
        self.deadline = deadline
        """When the provider's time ends: the latest of the waiting callers'."""
        self.abandoned = False
        """The last caller left before anything was sent. Nothing is sent any more."""
        self.waiters = 0
        """Callers that wait for the result."""
        self._actor = actor
        self._provider = provider
        self._call = call
        self._recorder = recorder
        self._clock = clock
        self._metrics = metrics
        self._large_bodies = large_bodies
        self._phase = ClosePhase.PREPARING
        self._attempts = 0
        self._last_error: GatewayError | None = None
        """How the previous attempt failed, with the certainty of all attempts so far."""
        self._earlier: Certainty | None = None
        """The certainty of the attempts before the one in progress, those before a restart included."""
        self._sent_at: float | None = None
        """When the attempt in progress was sent, by time.monotonic."""
        self._provider_time_s = 0.0
        """How long the finished attempts waited for the provider."""
        self._result: asyncio.Future[CloseAnswer | GatewayError] = asyncio.get_running_loop().create_future()

    @property
    def done(self) -> bool:
        """Whether there is a result. A failure may not be recorded yet."""
        return self._result.done()

    @property
    def provider_time_s(self) -> float:
        """How long all attempts together have waited for the provider so far."""
        return self._provider_time_s + (0.0 if self._sent_at is None else monotonic() - self._sent_at)

    def start(self) -> asyncio.Task[None]:
        """Execute the close in a separate task: the cancellation of a caller does not cancel the work."""
        self.task = asyncio.create_task(self.run())
        return self.task

    async def wait(self, until: float) -> CloseAnswer:
        """Wait for the result until a time of the loop's clock. Raises GatewayError: the result, or why there is none.

        Does not cancel the execution: other callers may wait, and what was sent has to be recorded. Where the last
        caller leaves (its time is over, or it is cancelled) before an attempt is sent, nothing more is sent.
        """
        self.waiters += 1
        done = False
        try:
            done = await _done_by(self._result, until)
        finally:
            self.waiters -= 1
            if not done and not self.waiters and self._phase is ClosePhase.PREPARING:
                self.abandoned = True
                self.deadline.cap(asyncio.get_running_loop().time())
        if not done:
            raise self._timeout_error(until)
        result = self._result.result()
        if isinstance(result, GatewayError):
            raise result.replace()
        return result

    async def wait_recorded(self, until: float) -> None:
        """Wait until a failure is recorded too. Raises GatewayError where that takes longer than `until`."""
        if not await _done_by(self.task, until):
            raise self._timeout_error(until)

    async def run(self) -> None:
        """Set the result: a success once it is recorded, a failure as soon as no further attempt is made.

        A failure that is not recorded yet is safe: until then the recorded intent means UNKNOWN.
        """
        try:
            self._set_result(await self._execute())
        except GatewayError as error:
            self._set_result(error)
        except Exception as bug:  # noqa: BLE001 - the callers need an answer to any bug
            error_id = log_unexpected_error(bug, mask_of(self._provider, self._call))
            self._set_result(internal_error(error_id, self._certainty_of_bug()))

    def _set_result(self, result: CloseAnswer | GatewayError) -> None:
        if not self._result.done():
            self._result.set_result(result)

    async def _execute(self) -> CloseAnswer:
        while True:
            self._attempts += 1
            sent = await self._attempt()
            if isinstance(sent, CloseAnswer):
                return sent
            self._phase = ClosePhase.RECORDING
            self._count(sent)
            if isinstance(sent.result, Closed):
                return await self._recorder.record_success(
                    self.request_id, self.target, sent.result, await sent.exchange(self._actor, self._large_bodies)
                )
            await self._record_and_wait(sent.result, sent)

    async def _record_and_wait(self, error: GatewayError, sent: AttemptResult) -> None:
        """Record a failed attempt and wait for the next one. Raises GatewayError where there is none."""
        self._last_error = last = with_overall_certainty(error, self._earlier)
        delay_s = self._retry_delay(error)
        if delay_s is None:
            self._set_result(last)
        recorded = await self._recorder.record_failure(
            self.request_id, self.target, error, self._earlier, await sent.exchange(self._actor, self._large_bodies)
        )
        if delay_s is None or not recorded or not self.waiters:  # the callers may have left meanwhile
            raise last
        self._phase = ClosePhase.PREPARING
        await self.deadline.sleep(delay_s)
        if self.deadline.remaining() < MIN_ATTEMPT_TIME_S:  # the store may have been slow
            raise last

    async def _attempt(self) -> AttemptResult | CloseAnswer:
        """Make one attempt, or return the stored success. Raises GatewayError where nothing can be sent."""
        provider, call = self._provider, self._call
        try:
            attempt = Attempt(1, new_id(), self._clock())
            request = encode_close(provider, call, attempt)
            provider.ensure_enabled()
            immediate = provider.admission.try_acquire()
            permit = immediate or await self._wait_for_permit()
        except GatewayError as error:
            if self._last_error is not None:
                raise self._last_error from None
            return await self._recorder.stored_success_or_raise(error, self.request_id, self.target)
        with permit:
            record = await self._record_intent()
            if record.settled:
                return replayed_answer(self.request_id, record.settled)
            try:
                provider.ensure_enabled()  # it may have been disabled meanwhile
                if record.attempts != attempt.number or not immediate:  # its number or time has changed
                    attempt = Attempt(record.attempts, new_id(), self._clock())
                    request = encode_close(provider, call, attempt)
            except GatewayError as error:
                reported = self._last_error or with_overall_certainty(error, self._earlier)
                await self._conclude_unsent(error, reported)
                raise reported from None
            if self._last_error is None:
                provider.admission.budget.deposit()
            self._phase = ClosePhase.SENDING
            self._sent_at = monotonic()
            hurried = self.deadline.remaining() < MIN_ATTEMPT_TIME_S
            with self.deadline.part(provider.admission.limits.attempt_timeout_s) as deadline:
                sent = await send_close(
                    provider, self.request_id, call, attempt, request, deadline, self._clock, self._large_bodies
                )
            permit.record_result(failed=_record_health(provider, sent, hurried))
            return sent

    async def _wait_for_permit(self) -> Permit:
        """Wait for admission. Raises GatewayError."""
        provider = self._provider
        try:
            permit = await provider.admission.acquire(self.deadline)
        except AdmissionRefused as refused:
            raise GatewayError(
                REASON_BY_ADMISSION_FAULT[refused.fault], refused.detail, retry_after_s=refused.retry_after_s
            ) from None
        if provider.enabled_state.disabled is not None:
            with permit:  # releases it
                provider.ensure_enabled()
        return permit

    async def _record_intent(self) -> CloseRecord:
        """Make the intent durable before the deadline. Raises GatewayError; then nothing may be sent."""
        error = self._last_error or GatewayError(
            Reason.STORE_UNAVAILABLE,
            "nothing was sent, because the gateway's store could not record the request: repeat the call",
        )
        try:
            with self.deadline.call_when_passed(partial(self._set_result, error)):
                record = await self._recorder.record_intent(self.request_id, self.target, self._actor)
        except StoreUnavailable as unavailable:
            log.warning("intent not recorded", error=str(unavailable))
            raise error from unavailable
        self._earlier = record.certainty
        if self.done or self.abandoned:  # recorded too late, or no caller waits
            if not record.settled:  # left open, the intent would mean an attempt that may have been sent
                await self._conclude_unsent(self._why_unsent(error), error)
            raise error
        return record

    def _why_unsent(self, error: GatewayError) -> GatewayError:
        if self.abandoned:
            return GatewayError(Reason.CALLER_GONE, "nothing was sent, because every caller left before it could be")
        if self._last_error is not None:
            return GatewayError(error.reason, "no further attempt was sent, because the call's time was over")
        return error

    async def _conclude_unsent(self, recorded: GatewayError, reported: GatewayError) -> None:
        """Conclude an attempt whose intent is recorded and that was not sent."""
        self._set_result(reported)
        await self._recorder.record_failure(self.request_id, self.target, recorded, self._earlier)

    def _retry_delay(self, error: GatewayError) -> float | None:
        """Seconds until the next attempt, or None where there is none."""
        admission = self._provider.admission
        if error.reason not in RETRYABLE or self._attempts >= admission.retry.attempts or not self.waiters:
            return None
        if error.certainty is Certainty.UNKNOWN and not is_idempotent(self._provider):
            return None
        delay_s = max(backoff_s(admission.retry, self._attempts), error.retry_after_s or 0.0)
        if self.deadline.remaining() - delay_s < MIN_ATTEMPT_TIME_S or admission.circuit is not Circuit.CLOSED:
            return None
        granted = admission.budget.try_withdraw()
        self._metrics.retry(self._provider.name, "made" if granted else "refused")
        return delay_s if granted else None

    def _count(self, sent: AttemptResult) -> None:
        provider, result = self._provider.name, sent.result
        self._metrics.exchange(provider, sent.duration_s)
        if isinstance(result, Closed):
            self._metrics.attempt(provider, result.outcome)
        else:
            self._metrics.attempt(provider, result.reason, result.certainty)
        self._provider_time_s, self._sent_at = self._provider_time_s + sent.duration_s, None

    def _timeout_error(self, until: float) -> GatewayError:
        """What a caller whose time ended at `until` receives. Another attempt may still be sent for another caller."""
        if self._phase is ClosePhase.SENDING:
            return GatewayError(
                Reason.PROVIDER_TIMEOUT,
                "no answer came within the deadline, and the provider may have executed the call: "
                "repeat it with the same request_id to learn its outcome",
                certainty=Certainty.UNKNOWN,
            )
        ended = self._phase is ClosePhase.PREPARING and (self.abandoned or self.deadline.at <= until)
        if self._last_error is not None:
            return self._last_error.replace() if ended else self._last_error.replace(certainty=Certainty.UNKNOWN)
        return GatewayError(
            Reason.STORE_UNAVAILABLE,
            "the gateway's store did not record the call within the deadline: repeat it with the same request_id",
            certainty=Certainty.NOT_SENT if ended else Certainty.UNKNOWN,
        )

    def _certainty_of_bug(self) -> Certainty:
        """The certainty of the attempts before this one where this one was not sent."""
        if self._phase is not ClosePhase.PREPARING:
            return Certainty.UNKNOWN
        return (self._last_error and self._last_error.certainty) or Certainty.NOT_SENT


async def _done_by(future: asyncio.Future[Any], until: float) -> bool:
    """Whether the future is done by `until`. A timeout or a cancellation does not affect the future."""
    await asyncio.wait({future}, timeout=until - asyncio.get_running_loop().time())
    return future.done()


def _record_health(provider: Provider, sent: AttemptResult, hurried: bool) -> bool | None:
    """Whether the provider failed, recorded in its health too. None where that is not known: a bug of the gateway, or
    no answer to a `hurried` request, which left the provider no time.
    """
    if isinstance(sent.result, Closed):
        provider.health.record(None, sent.ended_at)
        return False
    failed = None if hurried and sent.reply is None else provider_failed(sent.result)
    if failed is not None:
        provider.health.record(Reason(sent.result.reason), sent.ended_at)
    return failed
