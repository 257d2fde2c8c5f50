"""Carrying one close out: through the provider's gate, the intent first, and again where that may help."""

import itertools
from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import NoReturn

from adapters.contract import Attempt, Certainty, Closed, CloseSession, HttpRequest
from gateway.outbound.admission import SHORTEST_S, GateRefused, Permit
from gateway.outbound.circuit_breaker import Circuit
from gateway.outbound.deadline import Deadline
from gateway.outbound.retry import backoff_s
from gateway.sessions.attempt import Sent, encode_close, gateway_error, mask_of, may_be_repeated, send_close
from gateway.sessions.close_recorder import CloseAnswer, Recording, kept, of_the_whole_call
from gateway.sessions.errors import OF_GATE, RETRYABLE, Failure, Reason, provider_failed
from gateway.sessions.in_flight import Flight, Stage
from gateway.sessions.provider import Provider
from gateway.store.ids import new_id
from gateway.store.models import CloseRecord
from gateway.telemetry.errors import report_bug
from gateway.telemetry.metrics import Metrics


class Carrying:
    """Carries a close out, for however many callers wait for it."""

    def __init__(self, recording: Recording, clock: Callable[[], datetime], metrics: Metrics) -> None:
        self._recording = recording
        self._clock = clock
        self._metrics = metrics

    async def carry(self, flight: Flight[CloseAnswer], provider: Provider, call: CloseSession) -> None:
        """Land the flight: with a success once it is kept, with a failure as soon as nothing more is tried.

        A failure that is told before it is recorded loses nothing: until then the intent on disk means UNKNOWN.
        """
        try:
            await self._carry(flight, provider, call)
        except Failure as failure:
            flight.land(failure)
        except Exception as bug:  # noqa: BLE001 - whoever waits must be told, whatever happened
            flight.land(gateway_error(report_bug(bug, mask_of(provider, call)), _certainty_of_a_bug(flight)))

    async def _carry(self, flight: Flight[CloseAnswer], provider: Provider, call: CloseSession) -> None:
        for made in itertools.count(1):
            begun = await self._begun(flight, provider, call)
            if isinstance(begun, CloseAnswer):
                flight.land(begun)
                return
            sent, earlier = begun
            flight.stage = Stage.RECORDING
            self._count(flight, sent)
            if isinstance(sent.result, Closed):
                flight.land(await self._recording.settled(flight, sent.result, sent.exchange()))
                return
            flight.last = of_the_whole_call(sent.result, earlier)
            wait_s = self._wait_s(flight, provider, sent.result, made)
            if wait_s is None:
                flight.land(flight.last)
            recorded = await self._recording.failed(flight, sent.result, earlier, sent.exchange())
            if wait_s is None or not recorded or not flight.wanted:  # whoever asked may have left meanwhile
                raise flight.last
            flight.stage = Stage.BEGINNING
            await flight.deadline.sleep(wait_s)
            if flight.deadline.remaining() < SHORTEST_S:  # the store may have taken its time
                raise flight.last

    async def _begun(
        self, flight: Flight[CloseAnswer], provider: Provider, call: CloseSession
    ) -> tuple[Sent, Certainty | None] | CloseAnswer:
        """One attempt with the certainty of those before it, or the success that is kept. Raises Failure where nothing
        can be sent.
        """
        try:
            first = Attempt(1, new_id(), self._clock())
            request = encode_close(provider, call, first)
            provider.refuse_where_off()
            ready = provider.gate.pass_ready()
            permit = ready or await _entered(provider, flight.deadline)
        except Failure as refusal:
            if flight.last is not None:
                raise flight.last from None
            return await self._recording.kept_or(refusal, flight.request_id, flight.target)
        with permit:
            record = await self._recording.intend(flight)
            if record.settled:
                return kept(flight.request_id, record.settled)
            await self._refused_where_off(flight, provider, record)
            attempt = first
            if record.attempts != first.number or not ready:
                attempt = Attempt(record.attempts, new_id(), self._clock())
                request = await self._encoded_again(flight, provider, call, attempt, record)
            if flight.last is None:
                provider.gate.budget.call()
            flight.stage = Stage.SENDING
            flight.asked_at = monotonic()
            in_haste = flight.deadline.remaining() < SHORTEST_S
            sent = await self._sent(flight, provider, call, attempt, request)
            permit.told(failed=_judged(provider, sent, in_haste))
            return sent, record.certainty

    async def _refused_where_off(self, flight: Flight[CloseAnswer], provider: Provider, record: CloseRecord) -> None:
        """Send nothing to a provider that was switched off while the store took the intent. Raises Failure."""
        try:
            provider.refuse_where_off()
        except Failure as refusal:
            await self._not_sent(flight, refusal, record)

    async def _encoded_again(
        self,
        flight: Flight[CloseAnswer],
        provider: Provider,
        call: CloseSession,
        attempt: Attempt,
        record: CloseRecord,
    ) -> HttpRequest:
        """The request of an attempt that is a later one, or had to wait: its number, uuid and time are its own."""
        try:
            return encode_close(provider, call, attempt)
        except Failure as refusal:
            await self._not_sent(flight, refusal, record)

    async def _not_sent(self, flight: Flight[CloseAnswer], refusal: Failure, record: CloseRecord) -> NoReturn:
        """Conclude an attempt whose intent stands, and of which nothing was sent. Raises Failure."""
        told = flight.last or of_the_whole_call(refusal, record.certainty)
        flight.land(told)
        await self._recording.failed(flight, refusal, record.certainty)
        raise told from None

    async def _sent(
        self,
        flight: Flight[CloseAnswer],
        provider: Provider,
        call: CloseSession,
        attempt: Attempt,
        request: HttpRequest,
    ) -> Sent:
        limit_s = provider.gate.limits.attempt_timeout_s
        if limit_s is None:
            return await send_close(provider, flight.request_id, call, attempt, request, flight.deadline, self._clock)
        with flight.deadline.part(limit_s) as deadline:
            return await send_close(provider, flight.request_id, call, attempt, request, deadline, self._clock)

    def _wait_s(self, flight: Flight[CloseAnswer], provider: Provider, failure: Failure, made: int) -> float | None:
        """Seconds until another attempt is made, or None where none is."""
        gate = provider.gate
        if failure.reason not in RETRYABLE or made >= gate.retry.attempts or not flight.wanted:
            return None
        if failure.certainty is Certainty.UNKNOWN and not may_be_repeated(provider):
            return None
        wait_s = max(backoff_s(gate.retry, made), failure.retry_after_s or 0.0)
        if flight.deadline.remaining() - wait_s < SHORTEST_S or gate.circuit is not Circuit.CLOSED:
            return None
        granted = gate.budget.spend()
        self._metrics.retry(provider.name, "made" if granted else "refused")
        return wait_s if granted else None

    def _count(self, flight: Flight[CloseAnswer], sent: Sent) -> None:
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
        permit = await provider.gate.enter(deadline)
    except GateRefused as refused:
        raise Failure(OF_GATE[refused.fault], refused.detail, retry_after_s=refused.retry_after_s) from None
    if provider.switch.off is not None:
        with permit:  # gives the place back
            provider.refuse_where_off()
    return permit


def _certainty_of_a_bug(flight: Flight[CloseAnswer]) -> Certainty:
    """That of the attempts before this one, where this one was not sent."""
    if flight.stage is not Stage.BEGINNING:
        return Certainty.UNKNOWN
    return (flight.last and flight.last.certainty) or Certainty.NOT_SENT


def _judged(provider: Provider, sent: Sent, in_haste: bool) -> bool | None:
    """Whether the provider failed, which its health is told too; None where nothing is known of that, as where the
    caller gave it no time.
    """
    if isinstance(sent.result, Closed):
        provider.health.told(None, sent.ended_at)
        return False
    failed = None if in_haste and sent.reply is None else provider_failed(sent.result)
    if failed is not None:
        provider.health.told(Reason(sent.result.reason), sent.ended_at)
    return failed
