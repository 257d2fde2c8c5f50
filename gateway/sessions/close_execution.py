"""Carrying one close out: through the provider's gate, the intent first, and again where that may help."""

import itertools
from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import NoReturn

from adapters.contract import Attempt, Certainty, Closed, CloseSession, HttpRequest
from gateway.outbound.admission import MIN_ATTEMPT_TIME_S, AdmissionRefused, Permit
from gateway.outbound.circuit_breaker import Circuit
from gateway.outbound.deadline import Deadline
from gateway.outbound.retry import backoff_s
from gateway.sessions.attempt import AttemptResult, encode_close, internal_error, is_idempotent, mask_of, send_close
from gateway.sessions.close_recorder import CloseAnswer, CloseRecorder, replayed_answer, with_overall_certainty
from gateway.sessions.errors import REASON_BY_ADMISSION_FAULT, RETRYABLE, GatewayError, Reason, provider_failed
from gateway.sessions.in_flight import ClosePhase, InFlightClose
from gateway.sessions.provider import Provider
from gateway.store.ids import new_id
from gateway.store.models import CloseRecord
from gateway.telemetry.errors import log_unexpected_error
from gateway.telemetry.metrics import Metrics


class CloseExecution:
    """Carries a close out, for however many callers wait for it."""

    def __init__(self, recording: CloseRecorder, clock: Callable[[], datetime], metrics: Metrics) -> None:
        self._recording = recording
        self._clock = clock
        self._metrics = metrics

    async def run(self, flight: InFlightClose[CloseAnswer], provider: Provider, call: CloseSession) -> None:
        """Land the flight: with a success once it is kept, with a failure as soon as nothing more is tried.

        A failure that is told before it is recorded loses nothing: until then the intent on disk means UNKNOWN.
        """
        try:
            await self._carry(flight, provider, call)
        except GatewayError as failure:
            flight.set_result(failure)
        except Exception as bug:  # noqa: BLE001 - whoever waits must be told, whatever happened
            flight.set_result(
                internal_error(log_unexpected_error(bug, mask_of(provider, call)), _certainty_of_a_bug(flight))
            )

    async def _carry(self, flight: InFlightClose[CloseAnswer], provider: Provider, call: CloseSession) -> None:
        for made in itertools.count(1):
            begun = await self._attempt(flight, provider, call)
            if isinstance(begun, CloseAnswer):
                flight.set_result(begun)
                return
            sent, earlier = begun
            flight.phase = ClosePhase.RECORDING
            self._count(flight, sent)
            if isinstance(sent.result, Closed):
                flight.set_result(await self._recording.record_success(flight, sent.result, sent.exchange()))
                return
            flight.last = with_overall_certainty(sent.result, earlier)
            wait_s = self._retry_delay(flight, provider, sent.result, made)
            if wait_s is None:
                flight.set_result(flight.last)
            recorded = await self._recording.record_failure(flight, sent.result, earlier, sent.exchange())
            if wait_s is None or not recorded or not flight.has_waiters:  # whoever asked may have left meanwhile
                raise flight.last
            flight.phase = ClosePhase.BEGINNING
            await flight.deadline.sleep(wait_s)
            if flight.deadline.remaining() < MIN_ATTEMPT_TIME_S:  # the store may have taken its time
                raise flight.last

    async def _attempt(
        self, flight: InFlightClose[CloseAnswer], provider: Provider, call: CloseSession
    ) -> tuple[AttemptResult, Certainty | None] | CloseAnswer:
        """One attempt with the certainty of those before it, or the success that is kept. Raises Failure where nothing
        can be sent.
        """
        try:
            first = Attempt(1, new_id(), self._clock())
            request = encode_close(provider, call, first)
            provider.ensure_enabled()
            ready = provider.admission.try_acquire()
            permit = ready or await _entered(provider, flight.deadline)
        except GatewayError as refusal:
            if flight.last is not None:
                raise flight.last from None
            return await self._recording.stored_success_or_raise(refusal, flight.request_id, flight.target)
        with permit:
            record = await self._recording.record_intent(flight)
            if record.settled:
                return replayed_answer(flight.request_id, record.settled)
            await self._fail_if_disabled(flight, provider, record)
            attempt = first
            if record.attempts != first.number or not ready:
                attempt = Attempt(record.attempts, new_id(), self._clock())
                request = await self._encoded_again(flight, provider, call, attempt, record)
            if flight.last is None:
                provider.admission.budget.deposit()
            flight.phase = ClosePhase.SENDING
            flight.asked_at = monotonic()
            in_haste = flight.deadline.remaining() < MIN_ATTEMPT_TIME_S
            sent = await self._sent(flight, provider, call, attempt, request)
            permit.record_result(failed=_record_health(provider, sent, in_haste))
            return sent, record.certainty

    async def _fail_if_disabled(
        self, flight: InFlightClose[CloseAnswer], provider: Provider, record: CloseRecord
    ) -> None:
        """Send nothing to a provider that was switched off while the store took the intent. Raises Failure."""
        try:
            provider.ensure_enabled()
        except GatewayError as refusal:
            await self._not_sent(flight, refusal, record)

    async def _encoded_again(
        self,
        flight: InFlightClose[CloseAnswer],
        provider: Provider,
        call: CloseSession,
        attempt: Attempt,
        record: CloseRecord,
    ) -> HttpRequest:
        """The request of an attempt that is a later one, or had to wait: its number, uuid and time are its own."""
        try:
            return encode_close(provider, call, attempt)
        except GatewayError as refusal:
            await self._not_sent(flight, refusal, record)

    async def _not_sent(
        self, flight: InFlightClose[CloseAnswer], refusal: GatewayError, record: CloseRecord
    ) -> NoReturn:
        """Conclude an attempt whose intent stands, and of which nothing was sent. Raises Failure."""
        told = flight.last or with_overall_certainty(refusal, record.certainty)
        flight.set_result(told)
        await self._recording.record_failure(flight, refusal, record.certainty)
        raise told from None

    async def _sent(
        self,
        flight: InFlightClose[CloseAnswer],
        provider: Provider,
        call: CloseSession,
        attempt: Attempt,
        request: HttpRequest,
    ) -> AttemptResult:
        limit_s = provider.admission.limits.attempt_timeout_s
        if limit_s is None:
            return await send_close(provider, flight.request_id, call, attempt, request, flight.deadline, self._clock)
        with flight.deadline.part(limit_s) as deadline:
            return await send_close(provider, flight.request_id, call, attempt, request, deadline, self._clock)

    def _retry_delay(
        self, flight: InFlightClose[CloseAnswer], provider: Provider, failure: GatewayError, made: int
    ) -> float | None:
        """Seconds until another attempt is made, or None where none is."""
        gate = provider.admission
        if failure.reason not in RETRYABLE or made >= gate.retry.attempts or not flight.has_waiters:
            return None
        if failure.certainty is Certainty.UNKNOWN and not is_idempotent(provider):
            return None
        wait_s = max(backoff_s(gate.retry, made), failure.retry_after_s or 0.0)
        if flight.deadline.remaining() - wait_s < MIN_ATTEMPT_TIME_S or gate.circuit is not Circuit.CLOSED:
            return None
        granted = gate.budget.try_withdraw()
        self._metrics.retry(provider.name, "made" if granted else "refused")
        return wait_s if granted else None

    def _count(self, flight: InFlightClose[CloseAnswer], sent: AttemptResult) -> None:
        provider, result = sent.provider.name, sent.result
        self._metrics.exchange(provider, sent.seconds)
        if isinstance(result, Closed):
            self._metrics.attempt(provider, result.outcome)
        else:
            self._metrics.attempt(provider, result.reason, result.certainty)
        flight.asked_s, flight.asked_at = flight.asked_s + sent.seconds, None


async def _entered(provider: Provider, deadline: Deadline) -> Permit:
    """Wait at the provider's gate. Raises Failure."""
    try:
        permit = await provider.admission.acquire(deadline)
    except AdmissionRefused as refused:
        raise GatewayError(
            REASON_BY_ADMISSION_FAULT[refused.fault], refused.detail, retry_after_s=refused.retry_after_s
        ) from None
    if provider.enabled_state.disabled is not None:
        with permit:  # gives the place back
            provider.ensure_enabled()
    return permit


def _certainty_of_a_bug(flight: InFlightClose[CloseAnswer]) -> Certainty:
    """That of the attempts before this one, where this one was not sent."""
    if flight.phase is not ClosePhase.BEGINNING:
        return Certainty.UNKNOWN
    return (flight.last and flight.last.certainty) or Certainty.NOT_SENT


def _record_health(provider: Provider, sent: AttemptResult, in_haste: bool) -> bool | None:
    """Whether the provider failed, which its health is told too; None where nothing is known of that, as where the
    caller gave it no time.
    """
    if isinstance(sent.result, Closed):
        provider.health.record(None, sent.ended_at)
        return False
    failed = None if in_haste and sent.reply is None else provider_failed(sent.result)
    if failed is not None:
        provider.health.record(Reason(sent.result.reason), sent.ended_at)
    return failed
