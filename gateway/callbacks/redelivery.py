"""Processes a stored callback again, under the present configuration.

Stored callbacks are masked. So one is redelivered only if its outcome does not depend on a masked value. That is
tested before anything is applied, which is possible because adapters are pure.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from urllib.parse import parse_qsl

import structlog

from adapters.contract import CallbackFault, CallbackRefused, Headers, HttpRequest, Notification, PartialCallback
from gateway.callbacks.handler import TIME_LIMIT_S
from gateway.callbacks.processor import CallbackProcessor
from gateway.callbacks.routing import InboundCallback, Route, Routes
from gateway.masking.mask import describe_truncation
from gateway.masking.ranges import MASK
from gateway.sessions.errors import GatewayError, Reason
from gateway.store.base import Journal
from gateway.store.ids import new_id
from gateway.store.models import Actor, Direction, Exchange, Redelivery
from gateway.telemetry.logs import bind

log = structlog.get_logger(__name__)

_SUCCESSES = frozenset({"ACCEPTED", "CREDITED"})

_OTHER_VALUE = b"some-other-value"

_Decoded = Notification | tuple[CallbackFault, str, PartialCallback] | None
"""The notification, its refusal, or None if the adapter fails."""


class Redeliveries:
    """Redelivers stored callbacks. The wallet credits each reference once, here as everywhere."""

    def __init__(
        self,
        routes: Routes,
        processor: CallbackProcessor,
        journal: Journal,
        clock: Callable[[], datetime],
        *,
        time_limit_s: float = TIME_LIMIT_S,
    ) -> None:
        self._routes = routes
        self._processor = processor
        self._journal = journal
        self._clock = clock
        self._time_limit_s = time_limit_s

    def replace(self, routes: Routes) -> None:
        """Use these from now on."""
        self._routes = routes

    def obstacle(self, kept: Exchange) -> str:
        """Why a line of the journal cannot be redelivered, and what to do instead; '' if it can."""
        route = self._route_or_obstacle(kept)
        return route if isinstance(route, str) else ""

    async def redeliver(self, exchange_id: str, actor: Actor, reason: str) -> Exchange:
        """Process a stored callback again, and return the redelivery's line of the journal.

        Raises GatewayError CALLBACK_UNKNOWN and NOT_REDELIVERABLE, and StoreUnavailable.
        """
        kept, route = await self._redeliverable(exchange_id)
        request = _request(kept)
        callback = InboundCallback(
            id=new_id(),
            route=route,
            peer=kept.peer,
            started_at=self._clock(),
            path=route.url_path(request.query),  # there may be more secrets to mask than when it was stored
            request=kept.request,
            redelivery=Redelivery(exchange_id, reason),
            actor=actor,
        )
        bind(request_id=callback.id, provider=kept.provider)
        try:
            async with asyncio.timeout(self._time_limit_s):
                outcome = await self._processor.process(callback, request)
        except TimeoutError:
            outcome = route.try_again(f"no outcome within {self._time_limit_s} s")
        line = callback.exchange(outcome, self._clock())
        log.info(
            "callback redelivered",
            exchange_id=line.id,
            redelivery_of=exchange_id,
            actor=actor.caller,
            on_behalf_of=actor.on_behalf_of,
            provider=line.provider,
            path=line.operation,
            verdict=line.verdict,
            error=line.detail,
        )
        return line

    async def _redeliverable(self, exchange_id: str) -> tuple[Exchange, Route]:
        kept = await self._journal.exchange(exchange_id)
        if kept is None:
            raise GatewayError(
                Reason.CALLBACK_UNKNOWN,
                f"no callback {exchange_id} is stored: ListRefusedCallbacks lists those that are",
            )
        route = self._route_or_obstacle(kept)
        if isinstance(route, str):
            raise GatewayError(
                Reason.NOT_REDELIVERABLE,
                f"callback {exchange_id} cannot be redelivered: {route}",
                provider=kept.provider,
                details=(("reason", route),),
            )
        return kept, route

    def _route_or_obstacle(self, kept: Exchange) -> Route | str:
        """The route for a line, or why it cannot be redelivered."""
        if problem := _unusable(kept):
            return problem
        if all(provider != kept.provider for provider, _ in self._routes):
            return (
                f"provider '{kept.provider}' has no callbacks: it is retired or not configured, so configure it first"
            )
        route = self._routes.get((kept.provider, kept.operation.lower()))
        if route is None or kept.method != route.callback.method:
            return f"the dialect of provider '{kept.provider}' does not serve {kept.method} {kept.operation}"
        if _depends_on_masked_values(route, _request(kept)):
            return "its verdict depends on a value that was masked when it was stored: have the provider send it again"
        return route


def _unusable(kept: Exchange) -> str:
    """Why a line cannot be redelivered under any configuration."""
    if kept.direction is not Direction.INBOUND:
        is_call = kept.direction is Direction.OUTBOUND
        return f"it is no callback{' but a call to the provider, which is repeated with its request_id' * is_call}"
    if kept.verdict in _SUCCESSES:
        return f"its verdict was {kept.verdict}: there is nothing left to do"
    if kept.trimmed:
        return "its body was deleted by age: have the provider send it again"
    if not kept.request.body:
        return "it came without a body, or with one too large to be stored: have the provider send it again"
    if lost := describe_truncation(kept.request.body):
        return f"{lost}: have the provider send it again"
    return ""


def _request(kept: Exchange) -> HttpRequest:
    """The stored request."""
    lines = (line.partition(": ") for line in kept.request.head.split("\n") if line)
    return HttpRequest(
        method=kept.method,
        path=f"/{kept.operation}",
        query=tuple(parse_qsl(kept.path.partition("?")[2], keep_blank_values=True, errors="surrogatepass")),
        headers=tuple((name, value) for name, _, value in lines),
        body=kept.request.body,
    )


# --- Masked values ----------------------------------------------------------------------------------------------------


def _depends_on_masked_values(route: Route, request: HttpRequest) -> bool:
    """Whether other values in place of the masks could make it another notification or refusal."""
    variants = [variant for variant in _unmasked_variants(route, request) if variant != request]
    if not variants:
        return False
    if not _verified(route, request):
        return True  # a signature over masked values fails with any other value
    decoded = _decoded(route, request)
    return any(_decoded(route, variant) != decoded for variant in variants)


def _unmasked_variants(route: Route, request: HttpRequest) -> Iterator[HttpRequest]:
    """The request with other values in place of its masks: an unknown one, none, and the account's token."""
    yield _unmasked(request, _OTHER_VALUE)
    yield replace(request, body=request.body.replace(b'"' + MASK + b'"', b"null"))
    if token := route.provider.account.token:
        yield _unmasked(request, json.dumps(token.reveal())[1:-1].encode())


def _unmasked(request: HttpRequest, value: bytes) -> HttpRequest:
    def unmasked(pairs: Headers) -> Headers:
        return tuple((name, text.replace(MASK.decode(), value.decode())) for name, text in pairs)

    return replace(
        request,
        query=unmasked(request.query),
        headers=unmasked(request.headers),
        body=request.body.replace(MASK, value),
    )


def _verified(route: Route, request: HttpRequest) -> bool:
    try:
        route.callback.verify(route.provider.account, request)
    except CallbackRefused:
        return False
    except Exception:  # noqa: BLE001 - an adapter's bug is logged when the callback is processed
        return True
    return True


def _decoded(route: Route, request: HttpRequest) -> _Decoded:
    try:
        return route.callback.decode(route.provider.account, request)
    except CallbackRefused as refused:
        return (refused.fault, refused.field, refused.readable)
    except Exception:  # noqa: BLE001 - an adapter's bug is logged when the callback is processed
        return None
