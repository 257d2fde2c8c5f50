"""ProviderService, as the proto describes it."""

from collections.abc import Callable, Container
from functools import partial
from typing import Any

from gateway.rpc.deadline import Context, store_timeout
from gateway.rpc.validation import MAX_REASON_LENGTH, RequestValidator, known_page, next_page, timestamp
from gateway.sessions.errors import provider_unknown
from gateway.sessions.provider_switch import ProviderSwitches
from gateway.store.base import ProviderSwitchStore
from gateway.store.models import ProviderState, ProviderStateChange
from gateway.v1 import provider_service_pb2 as pb
from gateway.v1.provider_service_pb2_grpc import ProviderServiceServicer, add_ProviderServiceServicer_to_server


class ProviderService(ProviderServiceServicer):
    """Disables and enables providers, and lists who did. `providers` are the configured names."""

    def __init__(
        self,
        switches: ProviderSwitches,
        store: ProviderSwitchStore,
        providers: Container[str],
        default_deadline_s: Callable[[], float],
    ) -> None:
        self._switches = switches
        self._store = store
        self._providers = providers
        self._store_timeout = partial(store_timeout, default_deadline_s=default_deadline_s, store="the gateway's store")

    def add_to(self, server: Any) -> None:
        """Add the handlers to a server."""
        add_ProviderServiceServicer_to_server(self, server)

    async def DisableProvider(  # noqa: N802 - the proto's name
        self, request: pb.DisableProviderRequest, context: Context
    ) -> pb.DisableProviderResponse:
        """Stop calls to a provider."""
        change, changed = await self._change(request, ProviderState.DISABLED, context)
        return pb.DisableProviderResponse(state_change=change, changed=changed)

    async def EnableProvider(  # noqa: N802 - the proto's name
        self, request: pb.EnableProviderRequest, context: Context
    ) -> pb.EnableProviderResponse:
        """Allow calls to a provider."""
        change, changed = await self._change(request, ProviderState.ENABLED, context)
        return pb.EnableProviderResponse(state_change=change, changed=changed)

    async def ListProviderStateChanges(  # noqa: N802 - the proto's name
        self, request: pb.ListProviderStateChangesRequest, context: Context
    ) -> pb.ListProviderStateChangesResponse:
        """List state changes, newest first."""
        fields = RequestValidator()
        provider = fields.text("provider", request.provider)
        query = ("switches", provider)
        token = fields.page_token(request.page_token, *query)
        limit = fields.page_size(request.page_size)
        fields.check()
        with known_page():
            async with self._store_timeout(context):
                page = await self._store.provider_state_changes(provider=provider, page_token=token, limit=limit)
        return pb.ListProviderStateChangesResponse(
            state_changes=[_state_change(change) for change in page.entries],
            next_page_token=next_page(page.next_token, *query),
        )

    async def _change(
        self, request: pb.DisableProviderRequest | pb.EnableProviderRequest, to: ProviderState, context: Context
    ) -> tuple[pb.ProviderStateChange | None, bool]:
        fields = RequestValidator()
        provider = fields.text("provider", request.provider, required=True)
        actor = fields.actor(request.on_behalf_of, request.actor)
        reason = fields.required_text("reason", request.reason, max_length=MAX_REASON_LENGTH)
        fields.check(provider=provider)
        if provider not in self._providers:
            raise provider_unknown(provider)
        async with self._store_timeout(context):
            change, changed = await self._switches.change(provider, to, actor, reason)
        return (_state_change(change) if change else None), changed


def _state_change(change: ProviderStateChange) -> pb.ProviderStateChange:
    return pb.ProviderStateChange(
        id=change.id,
        provider=change.provider,
        state=f"PROVIDER_STATE_{change.state.name}",
        time=timestamp(change.at),
        actor=change.actor.caller,
        reason=change.reason,
        on_behalf_of=change.actor.on_behalf_of,
    )
