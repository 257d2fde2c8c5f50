"""ReconciliationService, as the proto describes it."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from gateway.rpc.caller import bound_providers
from gateway.rpc.callers import require_provider
from gateway.rpc.deadline import Context, store_timeout
from gateway.rpc.status import ApiReason
from gateway.rpc.validation import MAX_REASON_LENGTH, RequestValidator, known_page, next_page, timestamp
from gateway.sessions.errors import GatewayError
from gateway.store.base import AlreadyResolved, Items, Journal
from gateway.store.models import THE_GATEWAY, Actor, Direction, Exchange
from gateway.store.reconciliation import ItemFilter, ReconciliationItem, ReconciliationKind, Resolution
from gateway.v1 import reconciliation_service_pb2 as pb
from gateway.v1.reconciliation_service_pb2_grpc import (
    ReconciliationServiceServicer,
    add_ReconciliationServiceServicer_to_server,
)

_DEFAULT_CALLBACKS_PAGE = 20
_MAX_CALLBACKS_PAGE = 50
"""Each has a body of up to 64 KiB, and by default clients accept messages of up to 4 MiB."""


class ReconciliationStore(Items, Journal, Protocol):
    """The part of the store that the service uses."""


class Redeliverer(Protocol):
    """Delivers a stored callback again."""

    def obstacle(self, kept: Exchange) -> str:
        """Why a journal line cannot be redelivered; '' where it can."""
        ...

    async def redeliver(self, exchange_id: str, actor: Actor, reason: str) -> Exchange:
        """Redeliver it. Returns the redelivery's journal line. Raises GatewayError and StoreUnavailable."""
        ...


class ReconciliationService(ReconciliationServiceServicer):
    """Lists and resolves what an operator must reconcile, and redelivers callbacks."""

    def __init__(
        self,
        store: ReconciliationStore,
        redeliveries: Redeliverer,
        clock: Callable[[], datetime],
        default_deadline_s: Callable[[], float],
    ) -> None:
        self._store = store
        self._redeliveries = redeliveries
        self._clock = clock
        self._store_timeout = partial(store_timeout, default_deadline_s=default_deadline_s, store="the gateway's store")

    def add_to(self, server: Any) -> None:
        """Add the handlers to a server."""
        add_ReconciliationServiceServicer_to_server(self, server)

    async def ListItems(  # noqa: N802 - the proto's name
        self, request: pb.ListItemsRequest, context: Context
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
            async with self._store_timeout(context):
                page = await self._store.items(wanted, page_token=token, limit=limit)
        return pb.ListItemsResponse(
            items=[_item(item) for item in page.entries], next_page_token=next_page(page.next_token, *query)
        )

    async def GetItem(  # noqa: N802 - the proto's name
        self, request: pb.GetItemRequest, context: Context
    ) -> pb.GetItemResponse:
        """Get an item with its callback."""
        fields = RequestValidator()
        item_id = fields.text("item_id", request.item_id, required=True)
        fields.check()
        async with self._store_timeout(context):
            item = await self._store.find_item(item_id)
            exchange = await self._store.exchange(item.exchange_id) if item and item.exchange_id else None
        if item is None:
            raise _unknown(item_id)
        require_provider(item.provider)
        is_callback = exchange is not None and exchange.direction is Direction.INBOUND
        return pb.GetItemResponse(
            item=_item(item), callback=self._callback(exchange) if exchange and is_callback else None
        )

    async def ResolveItem(  # noqa: N802 - the proto's name
        self, request: pb.ResolveItemRequest, context: Context
    ) -> pb.ResolveItemResponse:
        """Resolve an item."""
        fields = RequestValidator()
        item_id = fields.text("item_id", request.item_id, required=True)
        actor = fields.actor(request.on_behalf_of, request.actor)
        reason = fields.required_text("reason", request.reason, max_length=MAX_REASON_LENGTH)
        fields.check()
        await self._require_item(item_id, context)
        try:
            async with self._store_timeout(context):
                item = await self._store.resolve_item(item_id, actor, reason, self._clock())
        except AlreadyResolved as resolved:
            raise _already_resolved(resolved.item) from None
        except LookupError:
            raise _unknown(item_id) from None
        return pb.ResolveItemResponse(item=_item(item))

    async def ListRefusedCallbacks(  # noqa: N802 - the proto's name
        self, request: pb.ListRefusedCallbacksRequest, context: Context
    ) -> pb.ListRefusedCallbacksResponse:
        """List refused callbacks, newest first."""
        fields = RequestValidator()
        provider = fields.text("provider", request.provider)
        query = ("callbacks", provider)
        token = fields.page_token(request.page_token, *query)
        limit = fields.page_size(request.page_size, _DEFAULT_CALLBACKS_PAGE, _MAX_CALLBACKS_PAGE)
        fields.check()
        with known_page():
            async with self._store_timeout(context):
                page = await self._store.refused_callbacks(provider=provider, page_token=token, limit=limit)
        return pb.ListRefusedCallbacksResponse(
            callbacks=[self._callback(exchange) for exchange in page.entries],
            next_page_token=next_page(page.next_token, *query),
        )

    async def RedeliverCallback(  # noqa: N802 - the proto's name
        self, request: pb.RedeliverCallbackRequest, context: Context
    ) -> pb.RedeliverCallbackResponse:
        """Deliver a stored callback again."""
        fields = RequestValidator()
        exchange_id = fields.text("exchange_id", request.exchange_id, required=True)
        actor = fields.actor(request.on_behalf_of, request.actor)
        reason = fields.required_text("reason", request.reason, max_length=MAX_REASON_LENGTH)
        fields.check()
        await self._require_exchange(exchange_id, context)
        async with self._store_timeout(context):
            line = await self._redeliveries.redeliver(exchange_id, actor, reason)
        return pb.RedeliverCallbackResponse(
            exchange_id=line.id, verdict=line.verdict, detail=line.detail, answer=_text(line.reply.body)
        )

    async def _require_item(self, item_id: str, context: Context) -> None:
        """Raises GatewayError where the caller is bound to other providers than the item's. Others cost no read."""
        if bound_providers.get() is not None:
            async with self._store_timeout(context):
                item = await self._store.find_item(item_id)
            if item is not None:  # the provider of an item does not change
                require_provider(item.provider)

    async def _require_exchange(self, exchange_id: str, context: Context) -> None:
        """The same for a callback."""
        if bound_providers.get() is not None:
            async with self._store_timeout(context):
                exchange = await self._store.exchange(exchange_id)
            if exchange is not None:
                require_provider(exchange.provider)

    def _callback(self, line: Exchange) -> pb.RefusedCallback:
        obstacle = self._redeliveries.obstacle(line)
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
            redelivery=_redelivery(line),
        )


def _redelivery(line: Exchange) -> pb.Redelivery | None:
    if line.redelivery is None:
        return None
    return pb.Redelivery(
        exchange_id=line.redelivery.exchange_id,
        actor=line.actor.caller,
        on_behalf_of=line.actor.on_behalf_of,
        reason=line.redelivery.reason,
    )


def _item(item: ReconciliationItem) -> pb.Item:
    is_close = item.kind is ReconciliationKind.CLOSE_UNKNOWN
    return pb.Item(
        id=item.id,
        kind=f"ITEM_KIND_{item.kind}",
        provider=item.provider,
        user_id=item.user_id,
        reference="" if is_close else item.reference,
        request_id=item.reference if is_close else "",
        fault=item.fault,
        field=item.field,
        detail=item.detail,
        create_time=timestamp(item.created_at),
        exchange_id=item.exchange_id,
        resolution=_resolution(item.resolution) if item.resolution else None,
    )


def _resolution(resolution: Resolution) -> pb.Resolution:
    return pb.Resolution(
        time=timestamp(resolution.at),
        actor=resolution.actor.caller,
        on_behalf_of=resolution.actor.on_behalf_of,
        reason=resolution.reason,
    )


def _unknown(item_id: str) -> GatewayError:
    return GatewayError(ApiReason.ITEM_UNKNOWN, f"there is no item {item_id}: see ListItems", certainty=None)


def _already_resolved(item: ReconciliationItem) -> GatewayError:
    actor, reason = (item.resolution.actor, item.resolution.reason) if item.resolution else (THE_GATEWAY, "")
    return GatewayError(
        ApiReason.ITEM_RESOLVED,
        f"item {item.id} is already resolved by {actor}: {reason}. Nothing was changed",
        certainty=None,
        provider=item.provider,
        details=(("actor", actor.caller), ("on_behalf_of", actor.on_behalf_of), ("reason", reason)),
    )


def _text(body: bytes) -> str:
    """A stored body as text. A truncated body can end in a part of a character."""
    return body.decode(errors="replace")
