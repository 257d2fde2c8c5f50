"""The provider's side of the family's dialect, written from the vendors' documents and not from our encoder.

What it answers to CloseSession stands here; what it has to tell, and how often it tries, in `simulator_deliveries`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from adapters.contract import Account, Attempt, HttpReply, HttpRequest
from adapters.luckymonaco_common.simulator_deliveries import Deliveries, Member, told
from adapters.simulation import Delivery, Expire, PlayerSession, SimulatedEvent, Simulator

REMEMBERED_UUIDS = 1000
"""How many of the latest requests it compares a uuid with."""

_CLOSE_REQUIRED = ("secureLogin", "userId", "token", "uuid")
_SESSION_EXPIRED_REQUIRED = ("secureLogin", "providerId", "sessionId", "userId", "token", "uuid")
_RESULT_REQUIRED = (
    *("uuid", "userId", "gameId", "gameName", "roundId", "amount"),
    *("reference", "currency", "providerId", "timestamp", "roundDetails"),
)
_RESULT_RESERVED = ("bonusCode", "promoWinAmount", "promoWinReference", "promoCampaignID", "promoCampaignType")


@dataclass(frozen=True, slots=True)
class State:
    """The provider between two requests. `sessions` are all it ever opened, `open` those still in play."""

    member: Member
    account: Account[Any]
    sessions: Mapping[str, PlayerSession]
    open: frozenset[str]
    deliveries: Deliveries
    uuids: tuple[str, ...] = ()
    forced_code: str = ""


def simulator(member: Member) -> Simulator[State]:
    """The simulator of one member of the family."""

    def start(account: Account[Any], sessions: tuple[PlayerSession, ...]) -> State:
        known = {session.session_id: session for session in sessions}
        return State(member, account, MappingProxyType(known), frozenset(known), Deliveries())

    session_expired, result = f"{member.version}/SessionExpired", f"{member.version}/Result"
    return Simulator(
        start=start,
        open_session=_open_session,
        answer=_answer,
        fail_with=_fail_with,
        emit=_emit,
        pending=lambda state: state.deliveries.due(),
        on_reply=_heard,
        open_sessions=_open_sessions,
        required=MappingProxyType(
            {
                "close_session": frozenset(_CLOSE_REQUIRED),
                session_expired: frozenset(_SESSION_EXPIRED_REQUIRED),
                result: frozenset(_RESULT_REQUIRED),
            }
        ),
        optional=MappingProxyType(
            {
                "close_session": _close_optional(member),
                session_expired: frozenset(),
                result: frozenset({*_RESULT_RESERVED, *(["sessionId"] if member.result_names_session else [])}),
            }
        ),
    )


def _close_optional(member: Member) -> frozenset[str]:
    return frozenset({"gameId", "clearHistory"}) if member.clears_history else frozenset({"gameId"})


def _open_session(state: State, session: PlayerSession) -> State:
    known = MappingProxyType({**state.sessions, session.session_id: session})
    return replace(state, sessions=known, open=state.open | {session.session_id})


def _open_sessions(state: State) -> tuple[PlayerSession, ...]:
    return tuple(session for session in state.sessions.values() if session.session_id in state.open)


def _fail_with(state: State, code: str) -> State:
    """Raises ValueError for a text that is not one of the family's error codes."""
    if code and not re.fullmatch(r"[1-9][0-9]*", code):
        raise ValueError(f"{code!r} is not an error code of this dialect: give a number such as 998, or nothing")
    return replace(state, forced_code=code)


# --- CloseSession -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """A close as the document allows it. Whether a round's history goes too changes nothing that is simulated."""

    user_id: str
    game_id: str
    uuid: str


class _Refusal(Exception):
    """A request that the document does not allow, with the code it earns."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


def _answer(state: State, request: HttpRequest) -> tuple[State, HttpReply]:
    if (request.method, request.path) != ("POST", f"/{state.member.version}/CloseSession"):
        return state, HttpReply(404, (("Content-Type", "text/plain"),), b"Not Found\n")
    try:
        asked = _read(state, request)
    except _Refusal as refusal:
        return state, _reply(refusal.code, refusal.description)
    state = replace(state, uuids=(*state.uuids, asked.uuid)[-REMEMBERED_UUIDS:])
    if state.forced_code:
        return state, _reply(int(state.forced_code), "Simulated failure")
    return _close(state, asked)


def _close(state: State, asked: _Asked) -> tuple[State, HttpReply]:
    theirs = [session for session in state.sessions.values() if session.user_id == asked.user_id]
    if not theirs:
        return state, _reply(62, "Player not found")
    ending = {session.session_id for session in theirs if asked.game_id in ("", session.game_id)} & state.open
    if not ending:
        return state, _reply(17, "No active session")
    return replace(state, open=state.open - ending), _reply(0, "Success")


def _reply(code: int, description: str) -> HttpReply:
    body = json.dumps({"error": code, "description": description}, indent=2)
    return HttpReply(200, (("Content-Type", "application/json"),), body.encode())


def _read(state: State, request: HttpRequest) -> _Asked:
    """What the request asks, once the document, the credentials and the uuid allow them. Raises _Refusal."""
    if request.query or request.header("Content-Type") != "application/json":
        raise _Refusal(57, "Invalid parameters: the request is a plain POST of application/json")
    asked = _parse(request.body)
    _check_form(state.member, asked)
    if asked["secureLogin"] != state.account.settings.secure_login:
        raise _Refusal(54, "Wrong secureLogin")
    # Without a token of its own to compare with, it cannot know the player's, and takes any.
    if state.account.token is not None and asked["token"] != state.account.token.reveal():
        raise _Refusal(401, "Unauthorized")
    if asked["uuid"] in state.uuids:
        raise _Refusal(57, "Invalid parameters: uuid was used before")
    return _Asked(asked["userId"], asked.get("gameId", ""), asked["uuid"])


def _check_form(member: Member, asked: dict[str, Any]) -> None:
    for name in _CLOSE_REQUIRED:
        if asked.get(name) in (None, ""):
            raise _Refusal(64, f"Empty mandatory field '{name}'")
    for name, value in asked.items():
        known = name in _CLOSE_REQUIRED or name in _close_optional(member)
        if not known or not _well_formed(name, value):
            raise _Refusal(57, f"Invalid parameters: {name}")


def _well_formed(name: str, value: object) -> bool:
    if name == "clearHistory":
        return type(value) is int and value in {0, 1}
    return isinstance(value, str) and value != ""


def _parse(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body.decode("utf-8"), object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        raise _Refusal(57, "Invalid parameters: the body is not JSON") from None
    if not isinstance(asked, dict):
        raise _Refusal(57, "Invalid parameters: the body is not a JSON object")
    return asked


def _each_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in members]
    if len(set(names)) < len(names):
        raise _Refusal(57, "Invalid parameters: a member occurs twice")
    return dict(members)


# --- What it has to tell ----------------------------------------------------------------------------------------------


def _emit(state: State, event: SimulatedEvent, attempt: Attempt) -> State:
    """Any session that it ever opened may still expire or win: an unfinished round outlives its session."""
    session = state.sessions[event.session_id]
    request = told(state.member, state.account, session, event, attempt)
    still_open = state.open - {session.session_id} if isinstance(event, Expire) else state.open
    return replace(state, open=still_open, deliveries=state.deliveries.adding(request))


def _heard(state: State, delivery: Delivery, reply: HttpReply | None) -> State:
    return replace(state, deliveries=state.deliveries.hearing(delivery, reply))
