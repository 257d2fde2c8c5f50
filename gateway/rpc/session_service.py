"""SessionService, as the proto describes it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from adapters.contract import CloseSession, Device, Outcome, Secret
from gateway.rpc import caller
from gateway.rpc.deadline import Context, seconds_left
from gateway.rpc.event_stream import EventStreams
from gateway.rpc.validation import MAX_TOKEN_LENGTH, RequestValidator, timestamp
from gateway.sessions.close_recorder import CloseAnswer
from gateway.sessions.close_service import CloseService
from gateway.sessions.provider import Provider
from gateway.sessions.provider_switch import Disabled
from gateway.store.models import EventFilter, EventType
from gateway.v1 import session_service_pb2 as pb
from gateway.v1.session_service_pb2_grpc import SessionServiceServicer, add_SessionServiceServicer_to_server

_OUTCOMES = {
    Outcome.CLOSED: pb.OUTCOME_CLOSED,
    Outcome.NO_ACTIVE_SESSION: pb.OUTCOME_NO_ACTIVE_SESSION,
}


class SessionService(SessionServiceServicer):
    """Validates requests, calls the services, and encodes their results."""

    def __init__(
        self,
        close_service: CloseService,
        event_streams: EventStreams,
        providers: Mapping[str, Provider],
        default_deadline_s: Callable[[], float],
        last_key_uses: Callable[[str], Sequence[datetime | None]] = lambda provider: (),
    ) -> None:
        """`last_key_uses` returns when each callback key of a provider was last used, in their order."""
        self._close_service = close_service
        self._event_streams = event_streams
        self._providers = providers
        self._default_deadline_s = default_deadline_s
        self._last_key_uses = last_key_uses

    def add_to(self, server: Any) -> None:
        """Add the handlers to a server."""
        add_SessionServiceServicer_to_server(self, server)

    async def CloseSession(  # noqa: N802 - the proto's name
        self, request: pb.CloseSessionRequest, context: Context
    ) -> pb.CloseSessionResponse:
        """End a player's sessions at one provider."""
        fields = RequestValidator()
        request_id = fields.request_id(request.request_id) or str(uuid4())
        provider = fields.text("provider", request.provider, required=True)
        call = CloseSession(
            user_id=fields.text("user_id", request.user_id, required=True),
            session_id=fields.text("session_id", request.session_id),
            game_id=fields.text("game_id", request.game_id),
            token=Secret(fields.text("token", request.token, max_length=MAX_TOKEN_LENGTH)) if request.token else None,
            clear_history=request.clear_history,
            device=Device(
                os=fields.text("device.os", request.device.os),
                app_version=fields.app_version("device.app_version", request.device.app_version),
            ),
        )
        reason = fields.text("reason", request.reason)
        actor = caller.actor(fields.text("on_behalf_of", request.on_behalf_of.strip()))
        fields.check(provider=provider, request_id=request_id)
        answer = await self._close_service.close(request_id, provider, call, reason, self._deadline(context), actor)
        return _close_response(answer)

    async def WatchEvents(  # noqa: N802 - the proto's name
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        """Stream events."""
        fields = RequestValidator()
        after = fields.text("after_event_id", request.after_event_id)
        wanted = EventFilter(
            user_id=fields.text("user_id", request.user_id),
            provider=fields.text("provider", request.provider),
            types=_event_types(fields, request),
        )
        fields.check()
        async for event in self._event_streams.events(after, wanted, lambda: context.send_initial_metadata(())):
            yield pb.WatchEventsResponse(
                event=pb.Event(
                    id=event.id,
                    type=f"EVENT_TYPE_{event.type}",
                    time=timestamp(event.time),
                    provider=event.provider,
                    user_id=event.user_id,
                    session_id=event.session_id,
                    request_id=event.request_id,
                    reference=event.reference,
                )
            )

    async def ListProviders(  # noqa: N802 - the proto's name
        self, request: pb.ListProvidersRequest, context: Context
    ) -> pb.ListProvidersResponse:
        """List the configured providers, their capabilities and their health."""
        return pb.ListProvidersResponse(
            providers=[
                _provider(provider, self._last_key_uses(name)) for name, provider in sorted(self._providers.items())
            ]
        )

    def _deadline(self, context: Context) -> float:
        """The caller's deadline, in the loop's time."""
        return asyncio.get_running_loop().time() + seconds_left(context, self._default_deadline_s())


def _close_response(answer: CloseAnswer) -> pb.CloseSessionResponse:
    return pb.CloseSessionResponse(
        request_id=answer.request_id,
        outcome=_OUTCOMES[answer.outcome],
        provider_answer=pb.ProviderAnswer(
            code=answer.answer.code, description=answer.answer.description, http_status=answer.answer.http_status
        ),
        end_time=timestamp(answer.end_time),
        replayed=answer.replayed,
    )


def _event_types(fields: RequestValidator, request: pb.WatchEventsRequest) -> frozenset[EventType]:
    names = {pb.EventType.Value(f"EVENT_TYPE_{member}"): member for member in EventType}
    if unknown := sorted({number for number in request.types if number not in names}):
        fields.add_violation("types", f"has {unknown[0]}, which is no event type")
    return frozenset(names[number] for number in request.types if number in names)


def _provider(provider: Provider, last_key_uses: Sequence[datetime | None]) -> pb.Provider:
    close = provider.adapter.close_session
    capabilities = pb.Capabilities(callbacks=sorted(provider.adapter.callbacks))
    if close:
        capabilities.close_scope = pb.CLOSE_SCOPE_USER if close.ends_all_sessions else pb.CLOSE_SCOPE_SESSION
        capabilities.required_fields.extend(sorted(close.required_fields))
        capabilities.optional_fields.extend(sorted(close.optional_fields))
        capabilities.warning = close.warning
    return pb.Provider(
        name=provider.name,
        adapter=provider.adapter.name,
        display_name=provider.adapter.display_name,
        capabilities=capabilities,
        health=_health(provider),
        callback_keys=[
            pb.CallbackKey(position=position, last_use_time=timestamp(last) if last else None)
            for position, last in enumerate(last_key_uses, 1)
        ],
    )


def _health(provider: Provider) -> pb.ProviderHealth:
    health, disabled = provider.health, provider.enabled_state.disabled
    return pb.ProviderHealth(
        state=f"HEALTH_STATE_{health.state}",
        since=timestamp(health.since) if health.since else None,
        last_failure=health.last_failure,
        circuit=f"CIRCUIT_STATE_{provider.admission.circuit}",
        in_flight_calls=provider.admission.in_flight,
        queued_calls=provider.admission.queued,
        disabled=_disabled(disabled) if disabled else None,
    )


def _disabled(disabled: Disabled) -> pb.ProviderDisabled:
    return pb.ProviderDisabled(
        actor=disabled.actor.caller,
        on_behalf_of=disabled.actor.on_behalf_of,
        reason=disabled.reason,
        time=timestamp(disabled.since),
    )
