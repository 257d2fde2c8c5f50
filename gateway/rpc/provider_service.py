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
from gateway.store.models import Position, ProviderSwitch
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

    async def SwitchOffProvider(  # noqa: N802 - the proto's name
        self, request: pb.SwitchOffProviderRequest, context: "Context"
    ) -> pb.SwitchOffProviderResponse:
        """Have a provider asked nothing more."""
        standing, made = await self._switch(request, Position.OFF, context)
        return pb.SwitchOffProviderResponse(provider_switch=standing, switched=made)

    async def SwitchOnProvider(  # noqa: N802 - the proto's name
        self, request: pb.SwitchOnProviderRequest, context: "Context"
    ) -> pb.SwitchOnProviderResponse:
        """Have a provider asked again."""
        standing, made = await self._switch(request, Position.ON, context)
        return pb.SwitchOnProviderResponse(provider_switch=standing, switched=made)

    async def ListProviderSwitches(  # noqa: N802 - the proto's name
        self, request: pb.ListProviderSwitchesRequest, context: "Context"
    ) -> pb.ListProviderSwitchesResponse:
        """List switches, newest first."""
        fields = RequestValidator()
        provider = fields.text("provider", request.provider)
        query = ("switches", provider)
        token = fields.page_token(request.page_token, *query)
        limit = fields.page_size(request.page_size)
        fields.check()
        with known_page():
            async with self._in_time(context):
                page = await self._book.switches(provider=provider, page_token=token, limit=limit)
        return pb.ListProviderSwitchesResponse(
            provider_switches=[_switch(switch) for switch in page.entries],
            next_page_token=next_page(page.next_token, *query),
        )

    async def _switch(
        self, request: pb.SwitchOffProviderRequest | pb.SwitchOnProviderRequest, to: Position, context: "Context"
    ) -> tuple[pb.ProviderSwitch | None, bool]:
        fields = RequestValidator()
        provider = fields.text("provider", request.provider, required=True)
        by = fields.required_text("switched_by", request.switched_by)
        why = fields.required_text("reason", request.reason, longest=LONGEST_REASON)
        fields.check(provider=provider)
        if provider not in self._providers:
            raise provider_unknown(provider)
        async with self._in_time(context):
            standing, made = await self._switches.switch(provider, to, by, why)
        return (_switch(standing) if standing else None), made

    def _in_time(self, context: "Context") -> AbstractAsyncContextManager[None]:
        return store_timeout(context, self._default_deadline_s(), "the gateway's store")


def _switch(switch: ProviderSwitch) -> pb.ProviderSwitch:
    return pb.ProviderSwitch(
        id=switch.id,
        provider=switch.provider,
        position=f"SWITCH_POSITION_{switch.position}",
        time=timestamp(switch.at),
        switched_by=switch.by,
        reason=switch.why,
    )
