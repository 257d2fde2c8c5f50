"""The Parlour's own side, by its document at the head of this package: strict about all that it asks of us."""

import hashlib
import hmac
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlencode

from adapters.contract import Account, Attempt, HttpReply, HttpRequest
from adapters.simulation import Delivery, Expire, NotInThisDialect, PlayerSession, SimulatedEvent, Simulator

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Parlour:
    """Who is seated, who is known, and what is still to be told."""

    token: str
    house: str
    players: frozenset[str]
    seats: tuple[PlayerSession, ...]
    trouble: str = ""
    untold: tuple[Delivery, ...] = ()
    told: int = 0


def start(account: Account[Any], sessions: tuple[PlayerSession, ...]) -> Parlour:
    """The Parlour at the start of the evening."""
    token = account.token.reveal() if account.token else ""
    players = frozenset(session.user_id for session in sessions)
    return Parlour(token, account.settings.house, players, sessions)


def answer(state: Parlour, request: HttpRequest) -> tuple[Parlour, HttpReply]:
    """`PUT /seats/clear?v=2`, and nothing else."""
    if (request.method, request.path, request.query) != ("PUT", "/seats/clear", (("v", "2"),)):
        return state, HttpReply(404)
    if request.header("X-Desk") != state.token:
        return state, _said("desk", "Wrong desk")
    fields = _fields(request)
    if fields is None:
        return state, _said("no", "Not the form")
    if state.trouble:
        return state, _said(state.trouble, "Trouble")
    return _clear(state, fields["player"], fields.get("game", ""))


def _fields(request: HttpRequest) -> dict[str, str] | None:
    """The fields of the form, if they are exactly what the document allows."""
    if request.header("Content-Type") != FORM:
        return None
    try:
        fields = parse_qs(request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        return None
    if not {"player", "call"} <= fields.keys() <= {"player", "call", "game", "forget"}:
        return None
    once = {name: values[0] for name, values in fields.items() if len(values) == 1 and values[0]}
    return once if len(once) == len(fields) else None


def _clear(state: Parlour, player: str, game: str) -> tuple[Parlour, HttpReply]:
    if player not in state.players:
        return state, _said("who", "Nobody of that name")
    left = tuple(seat for seat in state.seats if not (seat.user_id == player and game in {"", seat.game_id}))
    if left == state.seats:
        return state, _said("empty", "No seat was taken")
    return replace(state, seats=left), _said("cleared", "Good night")


def _said(said: str, words: str) -> HttpReply:
    return HttpReply(200, (("Content-Type", FORM),), urlencode({"said": said, "words": words}).encode())


def fail_with(state: Parlour, code: str) -> Parlour:
    """Say this to everything."""
    return replace(state, trouble=code)


def emit(state: Parlour, event: SimulatedEvent, attempt: Attempt) -> Parlour:
    """A seat is left, or a round won; promotional prizes are unknown here."""
    seat = {seat.session_id: seat for seat in state.seats}[event.session_id]
    if isinstance(event, Expire):
        fields = {"house": state.house, "seat": seat.session_id, "player": seat.user_id}
        left = tuple(other for other in state.seats if other != seat)
        return _tell(replace(state, seats=left), "/left", fields)
    if event.promo is not None:
        raise NotInThisDialect("the Parlour has no prizes")
    fields = {
        "slip": event.reference,
        "player": seat.user_id,
        "coin": event.currency,
        "won": format(event.amount, "f"),
        "round": event.round_id,
        "game": seat.game_id,
    }
    return _tell(state, "/paid", fields)


def _tell(state: Parlour, path: str, fields: dict[str, str]) -> Parlour:
    body = urlencode(fields).encode()
    sealed = hmac.new(state.token.encode(), body, hashlib.sha256).hexdigest()
    request = HttpRequest("POST", path, (), (("Content-Type", FORM), ("X-Seal", sealed)), body)
    delivery = Delivery(state.told + 1, request)
    return replace(state, untold=(*state.untold, delivery), told=delivery.id)


def due(state: Parlour) -> tuple[Delivery, ...]:
    """What is still to be told."""
    return state.untold


def heard(state: Parlour, delivery: Delivery, reply: HttpReply | None) -> Parlour:
    """No answer and `again` are told again; anything else settles."""
    again = reply is None or reply.status != 200 or b"said=again" in reply.body
    others = tuple(other for other in state.untold if other.id != delivery.id)
    return replace(state, untold=(*others, replace(delivery, tries=delivery.tries + 1)) if again else others)


def open_session(state: Parlour, session: PlayerSession) -> Parlour:
    """Somebody sits down."""
    others = tuple(seat for seat in state.seats if seat.session_id != session.session_id)
    return replace(state, players=state.players | {session.user_id}, seats=(*others, session))


def open_sessions(state: Parlour) -> tuple[PlayerSession, ...]:
    """Who is seated."""
    return state.seats


SIMULATOR = Simulator(
    start=start,
    open_session=open_session,
    answer=answer,
    fail_with=fail_with,
    emit=emit,
    pending=due,
    on_reply=heard,
    open_sessions=open_sessions,
    required=MappingProxyType(
        {
            "close_session": frozenset({"player", "call", "X-Desk"}),
            "left": frozenset({"house", "seat", "player", "X-Seal"}),
            "paid": frozenset({"slip", "player", "coin", "won", "round", "game", "X-Seal"}),
        }
    ),
    optional=MappingProxyType(
        {"close_session": frozenset({"game", "forget"}), "left": frozenset(), "paid": frozenset()}
    ),
)
