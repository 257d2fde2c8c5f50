"""A simulator of an invented dialect: `close s1` is answered `closed`, and the reply `ok` settles a callback."""

import asyncio
import dataclasses
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from adapters.contract import Account, AdapterSettings, Attempt, HttpReply, HttpRequest
from adapters.simulation import Delivery, Expire, NotInThisDialect, PlayerSession, SimulatedEvent, Simulator, Win
from gateway.simulation import SimulatorHost, run_simulator

ACCOUNT = Account("plain", AdapterSettings())
SESSION = PlayerSession("s1", "u1", "g1")
OTHER_SESSION = PlayerSession("s2", "u2", "g1")
TEXT = (("Content-Type", "text/plain"),)


@dataclass(frozen=True, slots=True)
class State:
    """The provider's state."""

    sessions: tuple[PlayerSession, ...]
    code: str = ""
    queue: tuple[Delivery, ...] = ()
    last_id: int = 0


def _start(account: Account[Any], sessions: tuple[PlayerSession, ...]) -> State:
    return State(sessions)


def _answer(state: State, request: HttpRequest) -> tuple[State, HttpReply]:
    verb, _, session_id = request.body.decode().partition(" ")
    if verb != "close":
        return state, HttpReply(400, (*TEXT, ("Content-Length", "99")), b"what?")
    if state.code:
        return state, HttpReply(200, TEXT, f"code {state.code}".encode())
    rest = tuple(session for session in state.sessions if session.session_id != session_id)
    closed = b"none" if rest == state.sessions else b"closed"
    return dataclasses.replace(state, sessions=rest), HttpReply(200, TEXT, closed)


def _fail_with(state: State, code: str) -> State:
    return dataclasses.replace(state, code=code)


def _emit(state: State, event: SimulatedEvent, attempt: Attempt) -> State:
    if event.session_id not in {session.session_id for session in state.sessions}:
        raise KeyError(event.session_id)
    match event:
        case Expire(session_id):
            body = f"expired {session_id}"
        case Win(promo=None):
            body = f"won {event.amount} {event.currency}"
        case _:
            raise NotInThisDialect("the plain dialect has no prizes")
    request = HttpRequest("POST", "/Event", (("n", str(attempt.number)),), TEXT, body.encode())
    queue = (*state.queue, Delivery(state.last_id + 1, request))
    return dataclasses.replace(state, queue=queue, last_id=state.last_id + 1)


def _on_reply(state: State, delivery: Delivery, reply: HttpReply | None) -> State:
    settled = reply is not None and reply.body == b"ok"
    again = () if settled else (dataclasses.replace(delivery, tries=delivery.tries + 1),)
    others = tuple(other for other in state.queue if other.id != delivery.id)
    return dataclasses.replace(state, queue=(*others, *again))


PLAIN: Simulator[State] = Simulator(
    start=_start,
    open_session=lambda state, session: dataclasses.replace(
        state, sessions=(*(other for other in state.sessions if other != session), session)
    ),
    answer=_answer,
    fail_with=_fail_with,
    emit=_emit,
    pending=lambda state: state.queue,
    on_reply=_on_reply,
    open_sessions=lambda state: state.sessions,
    required=MappingProxyType({}),
    optional=MappingProxyType({}),
)


if __name__ == "__main__":
    asyncio.run(run_simulator(SimulatorHost(PLAIN, ACCOUNT, [SESSION])))
