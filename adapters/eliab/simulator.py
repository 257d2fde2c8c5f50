"""The provider's side of Eliab's dialect, written from 003_046479595b70fca9.txt and not from our encoder."""

import json
import re
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from adapters.contract import Account, Attempt, HttpReply, HttpRequest
from adapters.simulation import NotInThisDialect, Sessions, SimulatedEvent, Simulator

_TYPES_OF_SUCCESS = frozenset({"success", "warning", "info"})
_OPTIONAL_FORMS = {"OS": r"[!-~]([ -~]*[!-~])?", "AppVersion": r"[0-9]+\.[0-9]+\.[0-9]+"}


@dataclass(frozen=True, slots=True)
class State:
    """The provider between two requests."""

    account: Account[Any]
    sessions: Sessions
    forced: str = ""


def _fail_with(state: State, code: str) -> State:
    """The dialect's codes are an HTTP status from 400, or a type of Info under status 200. Raises ValueError."""
    if code and code not in {"error", *_TYPES_OF_SUCCESS} and not re.fullmatch(r"[45][0-9]{2}", code):
        raise ValueError(f"{code!r} is no code of this dialect: give a status such as 500, a type of Info, or nothing")
    return replace(state, forced=code)


# --- Session close ----------------------------------------------------------------------------------------------------


class _Refusal(Exception):
    """A request that the document does not allow, with the status of the answer."""

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
    if session_id not in state.sessions.open_ids:
        return state, _reply(404, "error", "Session not found", "The session is not active", session_id)
    closed = replace(state, sessions=state.sessions.closed({session_id}))
    message = "The session has been closed successfully!"
    return closed, _reply(200, state.forced or "success", "Session closed!", message, session_id)


def _check(state: State, request: HttpRequest) -> None:
    """Raises _Refusal where the document forbids the request. Header names are in any case, each at most once."""
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
    # An object is parsed as the list of its members: the body has one, whose value has none.
    if content != [("requestContent", [])] or body.count(b"[") > 0:
        raise _Refusal(400, "The body is not one empty object requestContent")


def _authorised(state: State, authorization: str) -> bool:
    scheme, _, token = authorization.partition(" ")
    if scheme != "Basic" or not token:
        return False
    # Without a configured token it accepts any.
    return state.account.token is None or token == state.account.token.reveal()


def _reply(status: int, kind: str, title: str, message: str, session_id: str) -> HttpReply:
    """An Info object as the document prints it: with a shortened session id and a comma after the last member."""
    shown = f"{session_id[:26]}..." if len(session_id) > 26 else session_id
    info = json.dumps({"type": kind, "title": title, "message": message, "sessionId": shown}, indent=8)
    body = f'{{\n    "info": {info[:-1]}    }},\n}}'
    return HttpReply(status, (("Content-Type", "application/json"),), body.encode())


# --- No callbacks -----------------------------------------------------------------------------------------------------


def _emit(_state: State, _event: SimulatedEvent, _attempt: Attempt) -> State:
    raise NotInThisDialect(
        "Eliab's document has no callback, neither for a session that ended nor for a round that was won"
    )


SIMULATOR = Simulator(
    start=lambda account, sessions: State(account, Sessions.of(sessions)),
    open_session=lambda state, session: replace(state, sessions=state.sessions.opened(session)),
    answer=_answer,
    fail_with=_fail_with,
    emit=_emit,
    pending=lambda _state: (),
    on_reply=lambda state, _delivery, _reply: state,
    open_sessions=lambda state: state.sessions.open,
    required=MappingProxyType(
        {"close_session": frozenset({"Content-Type", "Authorization", "SessionID", "requestContent"})}
    ),
    optional=MappingProxyType({"close_session": frozenset({"OS", "AppVersion"})}),
)
