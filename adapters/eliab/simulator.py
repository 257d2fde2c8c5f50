"""Eliab's side of its dialect, written from 003_046479595b70fca9.txt and not from our encoder."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from adapters.contract import Account, Attempt, HttpReply, HttpRequest
from adapters.simulation import Delivery, NotInThisDialect, PlayerSession, SimulatedEvent, Simulator

_TYPES_OF_SUCCESS = frozenset({"success", "warning", "info"})
_OPTIONAL_FORMS = {"OS": r"[!-~]([ -~]*[!-~])?", "AppVersion": r"[0-9]+\.[0-9]+\.[0-9]+"}


@dataclass(frozen=True, slots=True)
class State:
    """The provider between two requests. `sessions` are all it ever opened, `open` those still in play."""

    account: Account[Any]
    sessions: Mapping[str, PlayerSession]
    open: frozenset[str]
    forced: str = ""


def _start(account: Account[Any], sessions: tuple[PlayerSession, ...]) -> State:
    known = {session.session_id: session for session in sessions}
    return State(account, MappingProxyType(known), frozenset(known))


def _open_session(state: State, session: PlayerSession) -> State:
    known = MappingProxyType({**state.sessions, session.session_id: session})
    return replace(state, sessions=known, open=state.open | {session.session_id})


def _open_sessions(state: State) -> tuple[PlayerSession, ...]:
    return tuple(session for session in state.sessions.values() if session.session_id in state.open)


def _fail_with(state: State, code: str) -> State:
    """The dialect's codes are an HTTP status from 400, or a type of Info under status 200. Raises ValueError."""
    if code and code not in {"error", *_TYPES_OF_SUCCESS} and not re.fullmatch(r"[45][0-9]{2}", code):
        raise ValueError(f"{code!r} is no code of this dialect: give a status such as 500, a type of Info, or nothing")
    return replace(state, forced=code)


# --- Session close ----------------------------------------------------------------------------------------------------


class _Refusal(Exception):
    """A request that the document does not allow, with the status it earns."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def _answer(state: State, request: HttpRequest) -> tuple[State, HttpReply]:
    if (request.method, request.path) != ("POST", "/v1.0/session/close"):
        return state, HttpReply(404, (("Content-Type", "text/plain"),), b"Not Found\n")
    session_id = request.header("SessionID") or ""
    try:
        _check(state, request)
    except _Refusal as refusal:
        return state, _reply(refusal.status, "error", "Request refused", refusal.message, session_id)
    if state.forced.isdecimal():
        return state, _reply(int(state.forced), "error", "Error", "Simulated failure", session_id)
    if state.forced == "error":
        return state, _reply(200, "error", "Error", "Simulated failure", session_id)
    if session_id not in state.open:
        return state, _reply(404, "error", "Session not found", "The session is not active", session_id)
    closed = replace(state, open=state.open - {session_id})
    message = "The session has been closed successfully!"
    return closed, _reply(200, state.forced or "success", "Session closed!", message, session_id)


def _check(state: State, request: HttpRequest) -> None:
    """Whether the document allows the request. Header names in any case, each at most once. Raises _Refusal."""
    names = [name.lower() for name, _ in request.headers]
    for name in ("Content-Type", "Authorization", "SessionID"):
        if names.count(name.lower()) != 1 or not request.header(name):
            raise _Refusal(400, f"The header {name} is required, once")
    if request.query or request.header("Content-Type") != "application/json; multipart/form-data;":
        raise _Refusal(400, "The header Content-Type is not the one of the document")
    for name, form in _OPTIONAL_FORMS.items():
        values = [value for header, value in request.headers if header.lower() == name.lower()]
        if len(values) > 1 or not all(re.fullmatch(form, value) for value in values):
            raise _Refusal(400, f"The header {name} is not of its form")
    _check_content(request.body)
    if not _authorised(state, request.header("Authorization") or ""):
        raise _Refusal(401, "The access token is not valid")


def _check_content(body: bytes) -> None:
    try:
        content = json.loads(body.decode("utf-8"), object_pairs_hook=list)
    except (ValueError, RecursionError):
        raise _Refusal(400, "The body is not JSON") from None
    # An object is read as the list of its members: the body has one, whose value has none.
    if content != [("requestContent", [])] or body.count(b"[") > 0:
        raise _Refusal(400, "The body is not one empty object requestContent")


def _authorised(state: State, authorization: str) -> bool:
    scheme, _, token = authorization.partition(" ")
    if scheme != "Basic" or not token:
        return False
    # Without a token of its own to compare with, it takes any.
    return state.account.token is None or token == state.account.token.reveal()


def _reply(status: int, kind: str, title: str, message: str, session_id: str) -> HttpReply:
    """An Info object as the document prints it: the session id cut short, and a comma after the last member."""
    shown = f"{session_id[:26]}..." if len(session_id) > 26 else session_id
    info = json.dumps({"type": kind, "title": title, "message": message, "sessionId": shown}, indent=8)
    body = f'{{\n    "info": {info[:-1]}    }},\n}}'
    return HttpReply(status, (("Content-Type", "application/json"),), body.encode())


# --- It has no callbacks ----------------------------------------------------------------------------------------------


def _emit(_state: State, _event: SimulatedEvent, _attempt: Attempt) -> State:
    raise NotInThisDialect("Eliab's document knows no callback: it never tells that a session ended or a round was won")


def _nothing_due(_state: State) -> tuple[Delivery, ...]:
    return ()


def _heard(state: State, _delivery: Delivery, _reply: HttpReply | None) -> State:
    return state


SIMULATOR = Simulator(
    start=_start,
    open_session=_open_session,
    answer=_answer,
    fail_with=_fail_with,
    emit=_emit,
    pending=_nothing_due,
    on_reply=_heard,
    open_sessions=_open_sessions,
    required=MappingProxyType(
        {"close_session": frozenset({"Content-Type", "Authorization", "SessionID", "requestContent"})}
    ),
    optional=MappingProxyType({"close_session": frozenset({"OS", "AppVersion"})}),
)
