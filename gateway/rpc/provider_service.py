"""ProviderService, as the proto describes it."""

from collections.abc import Callable, Container
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import grpc

from gateway.rpc.deadline import store_timeout
from gateway.rpc.validation import LONGEST_REASON, RequestValidator, known_page, next_page, timestamp
from gateway.sessions.errors import provider_unknown
from gateway.sessions.provider_switch import ProviderSwitches
from gateway.store.base import ProviderSwitchStore
from gateway.store.models import ProviderState, ProviderStateChange
from gateway.v1 import provider_service_pb2 as pb
from gateway.v1.provider_service_pb2_grpc import ProviderServiceServicer

if TYPE_CHECKING:  # generic in the stubs only
    Context = grpc.aio.ServicerContext[Any, Any]


class ProviderService(ProviderServiceServicer):
    """Switches providers off and on, and tells who did. `providers` are the names of those that are configured."""

    def __init__(
        self,
        switches: ProviderSwitches,
        book: ProviderSwitchStore,
        providers: Container[str],
        default_deadline_s: Callable[[], float],
    ) -> None:
        self._switches = switches
        self._book = book
        self._providers = providers
        self._default_deadline_s = default_deadline_s

    async def DisableProvider(  # noqa: N802 - the proto's name
        self, request: pb.DisableProviderRequest, context: "Context"
    ) -> pb.DisableProviderResponse:
        """Have a provider asked nothing more."""
        standing, made = await self._switch(request, ProviderState.DISABLED, context)
        return pb.DisableProviderResponse(state_change=standing, changed=made)

    async def EnableProvider(  # noqa: N802 - the proto's name
        self, request: pb.EnableProviderRequest, context: "Context"
    ) -> pb.EnableProviderResponse:
        """Have a provider asked again."""
        standing, made = await self._switch(request, ProviderState.ENABLED, context)
        return pb.EnableProviderResponse(state_change=standing, changed=made)

    async def ListProviderStateChanges(  # noqa: N802 - the proto's name
        self, request: pb.ListProviderStateChangesRequest, context: "Context"
    ) -> pb.ListProviderStateChangesResponse:
        """List switches, newest first."""
        fields = RequestValidator()
        provider = fields.text("provider", request.provider)
        query = ("switches", provider)
        token = fields.page_token(request.page_token, *query)
        limit = fields.page_size(request.page_size)
        fields.check()
        with known_page():
            async with self._in_time(context):
                page = await self._book.provider_state_changes(provider=provider, page_token=token, limit=limit)
        return pb.ListProviderStateChangesResponse(
            state_changes=[_switch(switch) for switch in page.entries],
            next_page_token=next_page(page.next_token, *query),
        )

    async def _switch(
        self, request: pb.DisableProviderRequest | pb.EnableProviderRequest, to: ProviderState, context: "Context"
    ) -> tuple[pb.ProviderStateChange | None, bool]:
        fields = RequestValidator()
        provider = fields.text("provider", request.provider, required=True)
        by = fields.required_text("actor", request.actor)
        why = fields.required_text("reason", request.reason, longest=LONGEST_REASON)
        fields.check(provider=provider)
        if provider not in self._providers:
            raise provider_unknown(provider)
        async with self._in_time(context):
            standing, made = await self._switches.change(provider, to, by, why)
        return (_switch(standing) if standing else None), made

    def _in_time(self, context: "Context") -> AbstractAsyncContextManager[None]:
        return store_timeout(context, self._default_deadline_s(), "the gateway's store")


def _switch(switch: ProviderStateChange) -> pb.ProviderStateChange:
    return pb.ProviderStateChange(
        id=switch.id,
        provider=switch.provider,
        state=f"PROVIDER_STATE_{switch.state.name}",
        time=timestamp(switch.at),
        actor=switch.actor,
        reason=switch.reason,
    )
