"""ReconciliationService, as the proto describes it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import grpc

from gateway.rpc.deadline import store_timeout
from gateway.rpc.status import ApiReason
from gateway.rpc.validation import LONGEST_REASON, RequestValidator, known_page, next_page, timestamp
from gateway.sessions.errors import GatewayError
from gateway.store.base import AlreadyResolved, Items, Journal
from gateway.store.models import Direction, Exchange, ItemFilter, ReconciliationItem, ReconciliationKind
from gateway.v1 import reconciliation_service_pb2 as pb
from gateway.v1.reconciliation_service_pb2_grpc import ReconciliationServiceServicer

if TYPE_CHECKING:  # generic in the stubs only
    Context = grpc.aio.ServicerContext[Any, Any]

_USUAL_CALLBACKS = 20
_MOST_CALLBACKS = 50
"""Each comes with a body of up to 64 KiB, and common clients take no message beyond 4 MiB."""


class Kept(Items, Journal, Protocol):
    """What the service reads and settles."""


class Redelivering(Protocol):
    """Who can deliver a kept callback once more."""

    def obstacle(self, kept: Exchange) -> str:
        """Why a line of the journal cannot be redelivered; '' where it can."""
        ...

    async def redeliver(self, exchange_id: str, by: str, why: str) -> Exchange:
        """Deliver it; answers the redelivery's own line. Raises Failure and StoreUnavailable."""
        ...


class ReconciliationService(ReconciliationServiceServicer):
    """Shows what a person must look at, and keeps what he made of it."""

    def __init__(
        self,
        kept: Kept,
        redeliveries: Redelivering,
        clock: Callable[[], datetime],
        default_deadline_s: Callable[[], float],
    ) -> None:
        self._kept = kept
        self._redeliveries = redeliveries
        self._clock = clock
        self._default_deadline_s = default_deadline_s

    async def ListItems(  # noqa: N802 - the proto's name
        self, request: pb.ListItemsRequest, context: "Context"
    ) -> pb.ListItemsResponse:
        """List items, oldest first."""
        fields = RequestValidator()
        wanted = ItemFilter(
            provider=fields.text("provider", request.provider),
            user_id=fields.text("user_id", request.user_id),
            resolved=request.resolved,
        )
        query = ("items", wanted.provider, wanted.user_id, str(wanted.resolved))
        token = fields.page_token(request.page_token, *query)
        limit = fields.page_size(request.page_size)
        fields.check()
        with known_page():
            async with self._in_time(context):
                page = await self._kept.items(wanted, page_token=token, limit=limit)
        return pb.ListItemsResponse(
            items=[_item(item) for item in page.entries], next_page_token=next_page(page.next_token, *query)
        )

    async def GetItem(  # noqa: N802 - the proto's name
        self, request: pb.GetItemRequest, context: "Context"
    ) -> pb.GetItemResponse:
        """Show an item with its callback."""
        fields = RequestValidator()
        item_id = fields.text("item_id", request.item_id, required=True)
        fields.check()
        async with self._in_time(context):
            item = await self._kept.find_item(item_id)
            exchange = await self._kept.exchange(item.exchange_id) if item and item.exchange_id else None
        if item is None:
            raise _unknown(item_id)
        told_by_provider = exchange is not None and exchange.direction is Direction.INBOUND
        return pb.GetItemResponse(
            item=_item(item), callback=self._callback(exchange) if exchange and told_by_provider else None
        )

    async def ResolveItem(  # noqa: N802 - the proto's name
        self, request: pb.ResolveItemRequest, context: "Context"
    ) -> pb.ResolveItemResponse:
        """Settle an item."""
        fields = RequestValidator()
        item_id = fields.text("item_id", request.item_id, required=True)
        by = fields.required_text("resolved_by", request.resolved_by)
        why = fields.required_text("reason", request.reason, longest=LONGEST_REASON)
        fields.check()
        try:
            async with self._in_time(context):
                item = await self._kept.resolve_item(item_id, by, why, self._clock())
        except AlreadyResolved as resolved:
            raise _settled(resolved.item) from None
        except LookupError:
            raise _unknown(item_id) from None
        return pb.ResolveItemResponse(item=_item(item))

    async def ListRefusedCallbacks(  # noqa: N802 - the proto's name
        self, request: pb.ListRefusedCallbacksRequest, context: "Context"
    ) -> pb.ListRefusedCallbacksResponse:
        """List refused callbacks, newest first."""
        fields = RequestValidator()
        provider = fields.text("provider", request.provider)
        query = ("callbacks", provider)
        token = fields.page_token(request.page_token, *query)
        limit = fields.page_size(request.page_size, _USUAL_CALLBACKS, _MOST_CALLBACKS)
        fields.check()
        with known_page():
            async with self._in_time(context):
                page = await self._kept.refused_callbacks(provider=provider, page_token=token, limit=limit)
        return pb.ListRefusedCallbacksResponse(
            callbacks=[self._callback(exchange) for exchange in page.entries],
            next_page_token=next_page(page.next_token, *query),
        )

    async def RedeliverCallback(  # noqa: N802 - the proto's name
        self, request: pb.RedeliverCallbackRequest, context: "Context"
    ) -> pb.RedeliverCallbackResponse:
        """Deliver a kept callback once more."""
        fields = RequestValidator()
        exchange_id = fields.text("exchange_id", request.exchange_id, required=True)
        by = fields.required_text("redelivered_by", request.redelivered_by)
        why = fields.required_text("reason", request.reason, longest=LONGEST_REASON)
        fields.check()
        async with self._in_time(context):
            line = await self._redeliveries.redeliver(exchange_id, by, why)
        return pb.RedeliverCallbackResponse(
            exchange_id=line.id, verdict=line.verdict, detail=line.detail, answer=_text(line.reply.body)
        )

    def _in_time(self, context: "Context") -> AbstractAsyncContextManager[None]:
        return store_timeout(context, self._default_deadline_s(), "the gateway's store")

    def _callback(self, line: Exchange) -> pb.RefusedCallback:
        obstacle = self._redeliveries.obstacle(line)
        again = line.redelivery
        return pb.RefusedCallback(
            exchange_id=line.id,
            provider=line.provider,
            operation=line.operation,
            time=timestamp(line.started_at),
            verdict=line.verdict,
            detail=line.detail,
            peer=line.peer,
            redeliverable=not obstacle,
            not_redeliverable_because=obstacle,
            body=_text(line.request.body),
            redelivery=pb.Redelivery(exchange_id=again.exchange_id, redelivered_by=again.actor, reason=again.reason)
            if again
            else None,
        )


def _item(item: ReconciliationItem) -> pb.Item:
    of_a_close = item.kind is ReconciliationKind.CLOSE_UNKNOWN
    settled = item.resolution
    return pb.Item(
        id=item.id,
        kind=f"ITEM_KIND_{item.kind}",
        provider=item.provider,
        user_id=item.user_id,
        reference="" if of_a_close else item.reference,
        request_id=item.reference if of_a_close else "",
        fault=item.fault,
        field=item.field,
        detail=item.detail,
        create_time=timestamp(item.created_at),
        exchange_id=item.exchange_id,
        resolution=pb.Resolution(time=timestamp(settled.at), resolved_by=settled.actor, reason=settled.reason)
        if settled
        else None,
    )


def _unknown(item_id: str) -> GatewayError:
    return GatewayError(
        ApiReason.ITEM_UNKNOWN, f"there is no item {item_id}: ListItems tells which are", certainty=None
    )


def _settled(item: ReconciliationItem) -> GatewayError:
    by, why = (item.resolution.actor, item.resolution.reason) if item.resolution else ("", "")
    return GatewayError(
        ApiReason.ITEM_RESOLVED,
        f"item {item.id} was resolved before by {by or 'the gateway'}: {why}. Nothing was changed",
        certainty=None,
        provider=item.provider,
        details=(("resolved_by", by), ("why", why)),
    )


def _text(body: bytes) -> str:
    """A kept body as text: where it was cut, half a character may stand at the cut."""
    return body.decode(errors="replace")
