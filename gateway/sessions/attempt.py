"""One attempt at a provider: what is sent, what comes back, what it means, and its journal entry."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from adapters.contract import (
    Attempt,
    Certainty,
    Closed,
    CloseSession,
    CloseSessionCall,
    FieldInvalid,
    HttpReply,
    HttpRequest,
    ProviderAnswer,
    ProviderRefused,
    Unsupported,
)
from gateway.masking.large_bodies import LargeBodies
from gateway.masking.mask import Mask
from gateway.outbound.client import ExchangeFailed, LocalProtocolError
from gateway.outbound.deadline import Deadline
from gateway.outbound.retry import retry_after_s
from gateway.sessions.errors import REASON_BY_FAULT, REASON_BY_REFUSAL, RETRYABLE, FieldViolation, GatewayError, Reason
from gateway.sessions.provider import Provider
from gateway.store.ids import new_id
from gateway.store.models import Actor, Direction, Exchange, Message
from gateway.telemetry.errors import log_unexpected_error
from gateway.telemetry.tracing import Attributes, Kind, SpanResult, active

CLOSE_SESSION = "close_session"
"""The operation's name in the journal, the goldens and the metrics."""

MAX_CODE_LENGTH = 64
MAX_DESCRIPTION_LENGTH = 200
"""Characters of a provider's answer that are stored and reported, after masking."""

_Answer = tuple[HttpReply | None, Closed | GatewayError]


class AttemptResult(msgspec.Struct, frozen=True):
    """A finished attempt: what was sent, what came back, and what it means."""

    provider: Provider
    request_id: str
    attempt: Attempt
    request: HttpRequest
    mask: Mask
    """The provider's mask, and the caller's token."""
    reply: HttpReply | None
    result: Closed | GatewayError
    started_at: datetime
    ended_at: datetime

    @property
    def duration_s(self) -> float:
        """How long the exchange took."""
        return (self.ended_at - self.started_at).total_seconds()

    async def exchange(self, actor: Actor, large_bodies: LargeBodies) -> Exchange:
        """The journal entry, masked. Made when it is recorded: a caller waits for a failure, not for this."""
        size = max(len(message.body) for message in (self.request, self.reply) if message)
        return await large_bodies.run(self.provider.name, size, partial(self._exchange, actor))

    def _exchange(self, actor: Actor) -> Exchange:
        result, reply = self.result, self.reply
        error = result if isinstance(result, GatewayError) else None
        return Exchange(
            id=new_id(),
            direction=Direction.OUTBOUND,
            provider=self.provider.name,
            operation=CLOSE_SESSION,
            method=self.request.method,
            path=self.request.path + self.mask.query(self.request.query),
            request=self._masked(self.request),
            started_at=self.started_at,
            ended_at=self.ended_at,
            verdict=str(result.reason if isinstance(result, GatewayError) else result.outcome),
            request_id=self.request_id,
            attempt=self.attempt.number,
            status=reply.status if reply else 0,
            reply=self._masked(reply) if reply else Message(),
            certainty=error.certainty if error else None,
            detail=error.message if error else "",
            attempt_uuid=self.attempt.uuid,
            actor=actor,
        )

    def _masked(self, message: HttpRequest | HttpReply) -> Message:
        return Message(self.mask.head(message.headers), self.mask.body(message.body))


def mask_of(provider: Provider, call: CloseSession) -> Mask:
    """The mask for everything that this call produces."""
    return provider.mask.also(call.token) if call.token else provider.mask


def encode_close(provider: Provider, call: CloseSession, attempt: Attempt) -> HttpRequest:
    """The provider's request for a close. Raises GatewayError for what the dialect cannot express."""
    try:
        return _close_call(provider).encode(provider.account, call, attempt)
    except FieldInvalid as refusal:
        violation = FieldViolation(refusal.field, refusal.message)
        raise GatewayError(
            Reason.FIELD_INVALID, f"{refusal.field}: {refusal.message}", violations=(violation,)
        ) from None
    except Unsupported as refusal:
        raise GatewayError(
            Reason.UNSUPPORTED_BY_PROVIDER,
            f"{provider.name} cannot express {refusal.field}: {refusal.message}",
            details=(("field", refusal.field),),
        ) from None


def is_idempotent(provider: Provider) -> bool:
    """Whether a close that may have been executed may be sent again."""
    return _close_call(provider).idempotent


async def send_close(
    provider: Provider,
    request_id: str,
    call: CloseSession,
    attempt: Attempt,
    request: HttpRequest,
    deadline: Deadline,
    clock: Callable[[], datetime],
    large_bodies: LargeBodies,
) -> AttemptResult:
    """Send the request once. The provider's failures and an adapter's bugs are in the result and are not raised."""
    mask = mask_of(provider, call)
    started_at = clock()
    exchange: Awaitable[_Answer] = _exchange(provider, request, deadline, mask, large_bodies)
    if (traces := active()) is not None:
        attributes: Attributes = {"request_id": request_id, "provider": provider.name, "attempt": attempt.number}
        exchange = traces.span(
            "attempt", exchange, kind=Kind.CLIENT, attributes=attributes, result=_attempt_span_result
        )
    reply, result = await exchange
    return AttemptResult(provider, request_id, attempt, request, mask, reply, result, started_at, clock())


async def _exchange(
    provider: Provider, request: HttpRequest, deadline: Deadline, mask: Mask, large_bodies: LargeBodies
) -> _Answer:
    reply: HttpReply | None = None
    result: Closed | GatewayError
    try:
        reply = await _send(provider, request, deadline, mask)
        result = await large_bodies.run(provider.name, len(reply.body), partial(_decode, provider, reply, mask))
    except ExchangeFailed as failed:
        certainty = Certainty.UNKNOWN if failed.sent else Certainty.NOT_SENT
        result = GatewayError(REASON_BY_FAULT[failed.fault], f"{provider.name}: {failed.detail}", certainty=certainty)
    except ProviderRefused as refused:
        result = _refusal(provider.name, refused, mask, retry_after_s(reply) if reply else None)
    except LocalProtocolError as bug:
        result = internal_error(log_unexpected_error(bug, mask), Certainty.NOT_SENT)
    except Exception as bug:  # noqa: BLE001 - an adapter's bug must not lose the record of what was sent
        result = internal_error(log_unexpected_error(bug, mask), Certainty.UNKNOWN)
    return reply, result


def _decode(provider: Provider, reply: HttpReply, mask: Mask) -> Closed:
    closed = _close_call(provider).decode(provider.account, reply)
    return Closed(closed.outcome, _masked_answer(closed.answer, mask))


def _send(provider: Provider, request: HttpRequest, deadline: Deadline, mask: Mask) -> Awaitable[HttpReply]:
    exchange = provider.client.send(request, deadline)
    if (traces := active()) is None:
        return exchange
    attributes: Attributes = {
        "http.request.method": request.method,
        "server.address": provider.client.host,
        "server.port": provider.client.port,
        "url.full": provider.client.base_url + mask.text(request.path),  # without its query
    }
    return traces.span(request.method, exchange, kind=Kind.CLIENT, attributes=attributes, result=_exchange_span_result)


def _exchange_span_result(reply: HttpReply) -> SpanResult:
    if reply.status < 400:
        return SpanResult({"http.response.status_code": reply.status})
    return SpanResult(
        {"http.response.status_code": reply.status, "error.type": str(reply.status)}, f"HTTP {reply.status}"
    )


def _attempt_span_result(answer: _Answer) -> SpanResult:
    _, result = answer
    if isinstance(result, Closed):
        return SpanResult({"outcome": result.outcome})
    return SpanResult({"reason": result.reason, "certainty": result.certainty or ""}, result.message)


def internal_error(error_id: str, certainty: Certainty) -> GatewayError:
    """A bug of the gateway, as the caller receives it: an id that is in the log too, and nothing else."""
    return GatewayError(
        Reason.GATEWAY_ERROR,
        f"the gateway failed; its operators find the cause in the log under error id {error_id}",
        certainty=certainty,
        details=(("error_id", error_id),),
    )


def _close_call(provider: Provider) -> CloseSessionCall[Any]:
    call = provider.adapter.close_session
    if call is None:
        raise GatewayError(
            Reason.UNSUPPORTED_BY_PROVIDER, f"{provider.name} cannot close sessions: end them at the provider"
        )
    return call


def _masked_answer(answer: ProviderAnswer, mask: Mask) -> ProviderAnswer:
    """The answer with secrets masked. A provider may echo the caller's token, which the adapter cannot recognise."""
    return ProviderAnswer(
        code=mask.text(answer.code)[:MAX_CODE_LENGTH],
        description=mask.text(answer.description)[:MAX_DESCRIPTION_LENGTH],
        http_status=answer.http_status,
    )


def _refusal(provider: str, refused: ProviderRefused, mask: Mask, retry_after: float | None) -> GatewayError:
    reason, certainty = REASON_BY_REFUSAL[refused.kind]
    answer = _masked_answer(refused.answer, mask)
    message = mask.text(refused.message)
    description = f": {answer.description}" if answer.description else ""
    return GatewayError(
        reason,
        f"{provider}: {message} (it answered {answer.code}{description})",
        certainty=certainty,
        provider_code=answer.code,
        retry_after_s=retry_after if reason in RETRYABLE else None,
    )
