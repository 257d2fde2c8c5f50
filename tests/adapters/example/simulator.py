"""The Parlour's side, written from its document in the package's docstring."""

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
class State:
    """The Parlour between two requests: its players, the open seats and the queue of callbacks."""

    token: str
    house: str
    players: frozenset[str]
    seats: tuple[PlayerSession, ...]
    forced: str = ""
    queue: tuple[Delivery, ...] = ()
    last_id: int = 0


def start(account: Account[Any], sessions: tuple[PlayerSession, ...]) -> State:
    """The state with these seats open."""
    token = account.token.reveal() if account.token else ""
    players = frozenset(session.user_id for session in sessions)
    return State(token, account.settings.house, players, sessions)


def answer(state: State, request: HttpRequest) -> tuple[State, HttpReply]:
    """`PUT /seats/clear?v=2`, and nothing else."""
    if (request.method, request.path, request.query) != ("PUT", "/seats/clear", (("v", "2"),)):
        return state, HttpReply(404)
    if request.header("X-Desk") != state.token:
        return state, _said("desk", "Wrong desk")
    fields = _fields(request)
    if fields is None:
        return state, _said("no", "Not the form")
    if state.forced:
        return state, _said(state.forced, "Trouble")
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


def _clear(state: State, player: str, game: str) -> tuple[State, HttpReply]:
    if player not in state.players:
        return state, _said("who", "Nobody of that name")
    left = tuple(seat for seat in state.seats if not (seat.user_id == player and game in {"", seat.game_id}))
    if left == state.seats:
        return state, _said("empty", "No seat was taken")
    return replace(state, seats=left), _said("cleared", "Good night")


def _said(said: str, words: str) -> HttpReply:
    return HttpReply(200, (("Content-Type", FORM),), urlencode({"said": said, "words": words}).encode())


def fail_with(state: State, code: str) -> State:
    """Answer everything with this code."""
    return replace(state, forced=code)


def emit(state: State, event: SimulatedEvent, attempt: Attempt) -> State:
    """A seat is left, or a round is won. Promotional prizes do not exist here."""
    seat = {seat.session_id: seat for seat in state.seats}[event.session_id]
    if isinstance(event, Expire):
        fields = {"house": state.house, "seat": seat.session_id, "player": seat.user_id}
        left = tuple(other for other in state.seats if other != seat)
        return _queued(replace(state, seats=left), "/left", fields)
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
    return _queued(state, "/paid", fields)


def _queued(state: State, path: str, fields: dict[str, str]) -> State:
    body = urlencode(fields).encode()
    sealed = hmac.new(state.token.encode(), body, hashlib.sha256).hexdigest()
    request = HttpRequest("POST", path, (), (("Content-Type", FORM), ("X-Seal", sealed)), body)
    delivery = Delivery(state.last_id + 1, request)
    return replace(state, queue=(*state.queue, delivery), last_id=delivery.id)


def pending(state: State) -> tuple[Delivery, ...]:
    """What is still to be delivered."""
    return state.queue


def on_reply(state: State, delivery: Delivery, reply: HttpReply | None) -> State:
    """No reply and `again` are sent again; any other reply settles the delivery."""
    again = reply is None or reply.status != 200 or b"said=again" in reply.body
    others = tuple(other for other in state.queue if other.id != delivery.id)
    return replace(state, queue=(*others, replace(delivery, tries=delivery.tries + 1)) if again else others)


def open_session(state: State, session: PlayerSession) -> State:
    """A player opens a seat."""
    others = tuple(seat for seat in state.seats if seat.session_id != session.session_id)
    return replace(state, players=state.players | {session.user_id}, seats=(*others, session))


def open_sessions(state: State) -> tuple[PlayerSession, ...]:
    """The open seats."""
    return state.seats


SIMULATOR = Simulator(
    start=start,
    open_session=open_session,
    answer=answer,
    fail_with=fail_with,
    emit=emit,
    pending=pending,
    on_reply=on_reply,
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
