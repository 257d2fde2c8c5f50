"""Delivering a kept callback once more: judged afresh, under the present configuration, as the provider's own would be.

What is kept is masked. So a callback is redelivered only where it would be judged the same whatever stood behind a
mask; that is tried out, since adapters are pure, before anything is carried out.
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
from gateway.store.models import Direction, Exchange, Redelivery
from gateway.telemetry.logs import bind

log = structlog.get_logger(__name__)

_SETTLED = frozenset({"ACCEPTED", "CREDITED"})

_ANOTHER_VALUE = b"some-other-value"

_Outcome = Notification | tuple[CallbackFault, str, PartialCallback] | None
"""What a callback is read as: the notification, its refusal, or nothing where the adapter fails."""


class Redeliveries:
    """Replays kept callbacks. Exactly-once holds as ever: by the reference, in the wallet."""

    def __init__(
        self,
        routes: Routes,
        judge: CallbackProcessor,
        journal: Journal,
        clock: Callable[[], datetime],
        *,
        time_limit_s: float = TIME_LIMIT_S,
    ) -> None:
        self._routes = routes
        self._judge = judge
        self._journal = journal
        self._clock = clock
        self._time_limit_s = time_limit_s

    def replace(self, routes: Routes) -> None:
        """Redeliver by these from here on."""
        self._routes = routes

    def obstacle(self, kept: Exchange) -> str:
        """Why a line of the journal cannot be redelivered, and what to do instead; '' where it can."""
        way = self._route_or_obstacle(kept)
        return way if isinstance(way, str) else ""

    async def redeliver(self, exchange_id: str, by: str, why: str) -> Exchange:
        """Deliver a kept callback once more; answers the redelivery's own line of the journal.

        Raises Failure CALLBACK_UNKNOWN and NOT_REDELIVERABLE, and StoreUnavailable.
        """
        kept = await self._journal.exchange(exchange_id)
        if kept is None:
            raise GatewayError(
                Reason.CALLBACK_UNKNOWN, f"no callback {exchange_id} is kept: ListRefusedCallbacks tells which are"
            )
        route = self._route_or_obstacle(kept)
        if isinstance(route, str):
            raise GatewayError(
                Reason.NOT_REDELIVERABLE,
                f"callback {exchange_id} cannot be redelivered: {route}",
                provider=kept.provider,
                details=(("why", route),),
            )
        arrival = InboundCallback(
            id=new_id(),
            route=route,
            peer=kept.peer,
            started_at=self._clock(),
            request=_request(kept),
            kept=kept.request,
            redelivery=Redelivery(exchange_id, by, why),
        )
        bind(request_id=arrival.id, provider=kept.provider)
        try:
            async with asyncio.timeout(self._time_limit_s):
                verdict = await self._judge.process(arrival)
        except TimeoutError:
            verdict = route.try_again(f"no outcome within {self._time_limit_s} s")
        line = arrival.exchange(verdict, self._clock())
        log.info(
            "callback redelivered",
            exchange_id=line.id,
            redelivery_of=exchange_id,
            by=by,
            provider=line.provider,
            path=line.operation,
            verdict=line.verdict,
            detail=line.detail,
        )
        return line

    def _route_or_obstacle(self, kept: Exchange) -> Route | str:
        """The way that a line can go once more, or why it cannot."""
        if problem := _unusable(kept):
            return problem
        if all(provider != kept.provider for provider, _ in self._routes):
            return (
                f"provider '{kept.provider}' has no callbacks: it is retired, or not configured any more; "
                "configure it again first"
            )
        route = self._routes.get((kept.provider, kept.operation.lower()))
        if route is None or kept.method != route.callback.method:
            return f"the dialect of provider '{kept.provider}' does not serve {kept.method} {kept.operation} any more"
        if _depends_on_masked_values(route, _request(kept)):
            return "its verdict hangs on a value that was masked when it was kept: have the provider send it again"
        return route


def _unusable(kept: Exchange) -> str:
    """What stands in the way in the line itself, whatever is configured."""
    if kept.direction is not Direction.INBOUND:
        return "it is no callback: a call of the gateway's to the provider is repeated with its request_id"
    if kept.verdict in _SETTLED:
        return f"it came to {kept.verdict}: there is nothing left to do"
    if kept.trimmed:
        return "its body was taken away by age: have the provider send it again"
    if not kept.request.body:
        return "it came without a body, or with one too large to be kept: have the provider send it again"
    if lost := describe_truncation(kept.request.body):
        return f"{lost}: have the provider send it again"
    return ""


def _request(kept: Exchange) -> HttpRequest:
    """The request as it is kept."""
    lines = (line.partition(": ") for line in kept.request.head.split("\n") if line)
    return HttpRequest(
        method=kept.method,
        path=f"/{kept.operation}",
        query=tuple(parse_qsl(kept.path.partition("?")[2], keep_blank_values=True, errors="surrogatepass")),
        headers=tuple((name, value) for name, _, value in lines),
        body=kept.request.body,
    )


# --- What stands behind a mask ----------------------------------------------------------------------------------------


def _depends_on_masked_values(route: Route, request: HttpRequest) -> bool:
    """Whether another value behind the masks could make it another notification, or another refusal."""
    guesses = [guess for guess in _unmasked_variants(route, request) if guess != request]
    if not guesses:
        return False
    if not _verified(route, request):
        return True  # a signature over what was masked fails whatever is put in its place
    read = _read(route, request)
    return any(_read(route, guess) != read for guess in guesses)


def _unmasked_variants(route: Route, request: HttpRequest) -> Iterator[HttpRequest]:
    """The request with other values in its masks' place: nobody's, none at all, and our own token."""
    yield _unmasked(request, _ANOTHER_VALUE)
    yield replace(request, body=request.body.replace(b'"' + MASK + b'"', b"null"))
    if token := route.provider.account.token:
        yield _unmasked(request, json.dumps(token.reveal())[1:-1].encode())


def _unmasked(request: HttpRequest, value: bytes) -> HttpRequest:
    def put(pairs: Headers) -> Headers:
        return tuple((name, text.replace(MASK.decode(), value.decode())) for name, text in pairs)

    return replace(
        request,
        query=put(request.query),
        headers=put(request.headers),
        body=request.body.replace(MASK, value),
    )


def _verified(route: Route, request: HttpRequest) -> bool:
    try:
        route.callback.verify(route.provider.account, request)
    except CallbackRefused:
        return False
    except Exception:  # noqa: BLE001 - an adapter's bug is reported where the callback is judged
        return True
    return True


def _read(route: Route, request: HttpRequest) -> _Outcome:
    try:
        return route.callback.decode(route.provider.account, request)
    except CallbackRefused as refused:
        return (refused.fault, refused.field, refused.readable)
    except Exception:  # noqa: BLE001 - an adapter's bug is reported where the callback is judged
        return None
