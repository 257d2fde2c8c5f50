"""One attempt at a provider: what was sent, what came back, what it means, and the journal's line of it all."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import structlog

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
    Secret,
    Unsupported,
)
from gateway.outbound.client import ExchangeFailed
from gateway.outbound.deadline import Deadline
from gateway.sessions.failure import OF_EXCHANGE, OF_REFUSAL, Failure, FieldViolation, Reason
from gateway.sessions.provider import Provider
from gateway.store.records import Direction, Exchange, Message

log = structlog.get_logger(__name__)

CLOSE_SESSION = "close_session"
"""The operation's name in the journal, the goldens and the metrics."""

LONGEST_CODE = 64
LONGEST_DESCRIPTION = 200
"""Characters of a provider's words that are kept and told, once secrets are masked."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A concluded attempt: its success or its failure, and its line of the journal."""

    result: Closed | Failure
    exchange: Exchange


def encode_close(provider: Provider, call: CloseSession, attempt: Attempt) -> HttpRequest:
    """The provider's request for a close. Raises Failure for what the dialect cannot express; nothing is sent."""
    try:
        return _close_call(provider).encode(provider.account, call, attempt)
    except FieldInvalid as refusal:
        violation = FieldViolation(refusal.field, refusal.message)
        raise Failure(Reason.FIELD_INVALID, f"{refusal.field}: {refusal.message}", violations=(violation,)) from None
    except Unsupported as refusal:
        raise Failure(
            Reason.UNSUPPORTED_BY_PROVIDER,
            f"{provider.name} cannot express {refusal.field}: {refusal.message}",
            details=(("field", refusal.field),),
        ) from None


async def send_close(
    provider: Provider,
    request_id: str,
    call: CloseSession,
    attempt: Attempt,
    request: HttpRequest,
    deadline: Deadline,
    clock: Callable[[], datetime],
) -> Sent:
    """Ask the provider once. Never raises for what the provider does, nor for an adapter's bug."""
    reply: HttpReply | None = None
    result: Closed | Failure
    secrets = (call.token,) if call.token else ()
    try:
        reply = await provider.client.exchange(request, deadline)
        closed = _close_call(provider).decode(provider.account, reply)
        result = replace(closed, answer=_told(closed.answer, provider, secrets))
    except ExchangeFailed as failed:
        certainty = Certainty.UNKNOWN if failed.sent else Certainty.NOT_SENT
        result = Failure(OF_EXCHANGE[failed.fault], f"{provider.name}: {failed.detail}", certainty=certainty)
    except ProviderRefused as refused:
        result = _refusal(provider, refused, secrets)
    except Exception as bug:  # noqa: BLE001 - an adapter's bug must not lose the record of what was sent
        result = gateway_error(bug, Certainty.UNKNOWN)
    provider.health.told(_reason(result), clock())
    return Sent(result, _exchange(provider, request_id, attempt, request, reply, result, secrets, clock()))


def gateway_error(bug: BaseException, certainty: Certainty) -> Failure:
    """A bug of ours, as the caller is told: an id to find it in the log by, and nothing else."""
    error_id = uuid4().hex
    log.error("gateway error", error_id=error_id, exc_info=bug)
    return Failure(
        Reason.GATEWAY_ERROR,
        f"the gateway failed; its operators find the cause in the log under error id {error_id}",
        certainty=certainty,
        details=(("error_id", error_id),),
    )


def _close_call(provider: Provider) -> CloseSessionCall[Any]:
    call = provider.adapter.close_session
    if call is None:
        raise Failure(
            Reason.UNSUPPORTED_BY_PROVIDER, f"{provider.name} has no way to close sessions: end them at the provider"
        )
    return call


def _told(answer: ProviderAnswer, provider: Provider, secrets: tuple[Secret, ...]) -> ProviderAnswer:
    """The answer as it may be told. A provider may echo the caller's token, which the adapter cannot know as one."""
    return ProviderAnswer(
        code=provider.mask.text(answer.code, *secrets)[:LONGEST_CODE],
        description=provider.mask.text(answer.description, *secrets)[:LONGEST_DESCRIPTION],
        http_status=answer.http_status,
    )


def _refusal(provider: Provider, refused: ProviderRefused, secrets: tuple[Secret, ...]) -> Failure:
    reason, certainty = OF_REFUSAL[refused.kind]
    answer = _told(refused.answer, provider, secrets)
    message = provider.mask.text(refused.message, *secrets)
    words = f": {answer.description}" if answer.description else ""
    return Failure(
        reason,
        f"{provider.name}: {message} (it answered {answer.code}{words})",
        certainty=certainty,
        provider_code=answer.code,
    )


def _reason(result: Closed | Failure) -> Reason | None:
    return Reason(result.reason) if isinstance(result, Failure) else None


def _exchange(
    provider: Provider,
    request_id: str,
    attempt: Attempt,
    request: HttpRequest,
    reply: HttpReply | None,
    result: Closed | Failure,
    secrets: tuple[Secret, ...],
    ended_at: datetime,
) -> Exchange:
    mask = provider.mask
    failure = result if isinstance(result, Failure) else None
    verdict = result.reason if isinstance(result, Failure) else result.outcome
    return Exchange(
        id=uuid4().hex,
        direction=Direction.OUTBOUND,
        provider=provider.name,
        operation=CLOSE_SESSION,
        method=request.method,
        path=request.path + mask.query(request.query, *secrets),
        request=Message(mask.head(request.headers, *secrets), mask.body(request.body, *secrets)),
        started_at=attempt.now,
        ended_at=ended_at,
        verdict=str(verdict),
        request_id=request_id,
        attempt=attempt.number,
        status=reply.status if reply else 0,
        reply=Message(mask.head(reply.headers, *secrets), mask.body(reply.body, *secrets)) if reply else Message(),
        certainty=failure.certainty if failure else None,
        detail=failure.message if failure else "",
        attempt_uuid=attempt.uuid,
    )
