"""Control of a simulator by another process: JSON over HTTP, under `/_simulator/`.

    GET  /_simulator/sessions      the open sessions
    POST /_simulator/sessions      {"session_id": "s1", "user_id": "u1", "game_id": "g1"}: opens a session
    POST /_simulator/happen        {"expire": {"session_id": "s1"}} or {"win": {…}}, with "times": 5 and "at_once": true
                                   if wanted: delivers the callback and answers with the exchanges
    POST /_simulator/callback-url  {"url": "http://…"}: sets the callback URL, with the callback key
    POST /_simulator/fault         {"fault": "status:503*2"}; "none" removes it
    GET  /_simulator/exchanges     the exchanges received and sent, oldest first

Only for a trusted network: there is no authentication.
"""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from adapters.contract import PromoPrize
from adapters.simulation import Expire, NotInThisDialect, PlayerSession, SimulatedEvent, Win
from gateway.simulation.delivery import Exchange
from gateway.simulation.faults import FaultUnknown, parse_fault
from gateway.simulation.server import SimulatorHost

OrderT = TypeVar("OrderT", bound="Order")

Money = Annotated[str, msgspec.Meta(pattern=r"\A(0|[1-9][0-9]*)(\.[0-9]{1,18})?\Z", max_length=33)]
Times = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A request body."""


class ExpireOrder(Order, frozen=True, kw_only=True):
    """A session expires."""

    session_id: str


class PromoOrder(Order, frozen=True, kw_only=True):
    """A promotional prize with a win."""

    amount: Money
    reference: str


class WinOrder(Order, frozen=True, kw_only=True):
    """A round is won."""

    session_id: str
    round_id: str
    reference: str
    currency: str
    amount: Money
    promo: PromoOrder | None = None


class HappenOrder(Order, frozen=True, kw_only=True):
    """Exactly one of `expire` and `win`, and how many times it is delivered."""

    expire: ExpireOrder | None = None
    win: WinOrder | None = None
    times: Times = 1
    at_once: bool = False


class FaultOrder(Order, frozen=True, kw_only=True):
    """A fault in the form of `parse_fault`, or `none`."""

    fault: str


class CallbackUrlOrder(Order, frozen=True, kw_only=True):
    """The gateway's callback URL for this provider."""

    url: str


class SessionOrder(Order, frozen=True, kw_only=True):
    """A session to open."""

    session_id: str
    user_id: str
    game_id: str


class OrderRejected(Exception):
    """An order cannot be executed. It is answered with this HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def control_routes(host: SimulatorHost[Any]) -> tuple[web.RouteDef, ...]:
    """The routes for `host.start(routes=…)`."""
    control = _Control(host)
    return (
        web.get("/_simulator/sessions", _json(control.sessions)),
        web.post("/_simulator/sessions", _json(control.open_session)),
        web.post("/_simulator/happen", _json(control.happen)),
        web.post("/_simulator/callback-url", _json(control.callback_url)),
        web.post("/_simulator/fault", _json(control.fault)),
        web.get("/_simulator/exchanges", _json(control.exchanges)),
        web.route("*", "/_simulator/{path:.*}", _json(control.unknown)),
    )


def _json(handler: Callable[[web.Request], Awaitable[object]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Answer in JSON with what the handler returns, or with the error of OrderRejected."""

    async def respond(request: web.Request) -> web.Response:
        try:
            status, answer = 200, await handler(request)
        except OrderRejected as rejected:
            status, answer = rejected.status, {"error": str(rejected)}
        return web.Response(status=status, body=msgspec.json.encode(answer), content_type="application/json")

    return respond


class _Control:
    def __init__(self, host: SimulatorHost[Any]) -> None:
        self._host = host

    async def sessions(self, _: web.Request) -> object:
        return {"sessions": self._host.sessions}

    async def open_session(self, request: web.Request) -> object:
        order = await _read(request, SessionOrder)
        self._host.open_session(PlayerSession(order.session_id, order.user_id, order.game_id))
        return {"sessions": self._host.sessions}

    async def happen(self, request: web.Request) -> object:
        order = await _read(request, HappenOrder)
        event = _event(order)
        if self._host.callback_url is None:
            raise OrderRejected(
                409,
                "the simulator has no callback URL: start it with one, with its key, or POST it to callback-url",
            )
        try:
            deliveries = self._host.emit(event)
        except KeyError:
            raise OrderRejected(404, f"the simulator has no session {event.session_id!a}") from None
        except NotInThisDialect as error:
            raise OrderRejected(422, str(error) or "the dialect has no callback for this event") from None
        exchanges = await self._host.deliver(deliveries, times=order.times, at_once=order.at_once)
        return {"exchanges": [_exchange_fields(exchange) for exchange in exchanges]}

    async def callback_url(self, request: web.Request) -> object:
        order = await _read(request, CallbackUrlOrder)
        self._host.callback_url = order.url
        return {}

    async def fault(self, request: web.Request) -> object:
        order = await _read(request, FaultOrder)
        try:
            faults = () if order.fault == "none" else (parse_fault(order.fault),)
        except FaultUnknown as error:
            raise OrderRejected(400, str(error)) from None
        self._host.plan(*faults)
        return {"fault": order.fault}

    async def exchanges(self, _: web.Request) -> object:
        return {
            "received": [_exchange_fields(exchange) for exchange in self._host.received],
            "sent": [_exchange_fields(exchange) for exchange in self._host.sent],
        }

    async def unknown(self, _: web.Request) -> object:
        raise OrderRejected(
            404, "there are only GET sessions and exchanges, and POST sessions, happen, callback-url and fault"
        )


async def _read(request: web.Request, kind: type[OrderT]) -> OrderT:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OrderRejected(400, f"the body is invalid: {error}") from None


def _event(order: HappenOrder) -> SimulatedEvent:
    match order:
        case HappenOrder(expire=ExpireOrder() as expire, win=None):
            return Expire(expire.session_id)
        case HappenOrder(expire=None, win=WinOrder() as win):
            promo = PromoPrize(Decimal(win.promo.amount), win.promo.reference) if win.promo else None
            return Win(win.session_id, win.round_id, win.reference, win.currency, Decimal(win.amount), promo)
        case _:
            raise OrderRejected(400, 'write exactly one of "expire" and "win"')


def _exchange_fields(exchange: Exchange) -> dict[str, object]:
    """An exchange as JSON. Bytes that are not UTF-8 are escaped."""
    request, reply = exchange.request, exchange.reply
    return {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": request.headers,
        "body": request.body.decode(errors="backslashreplace"),
        "reply": None
        if reply is None
        else {
            "status": reply.status,
            "headers": reply.headers,
            "body": reply.body.decode(errors="backslashreplace"),
        },
        "note": exchange.note,
    }
