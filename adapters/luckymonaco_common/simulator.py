"""The provider's side of the family's dialect, written from the vendors' documents and not from our encoder.

This module answers CloseSession; `simulator_deliveries` makes the callbacks and their retransmission.
"""

import json
import re
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from adapters.contract import Account, Attempt, HttpReply, HttpRequest
from adapters.luckymonaco_common.simulator_deliveries import Deliveries, Member, callback_of
from adapters.simulation import Expire, Sessions, SimulatedEvent, Simulator

REMEMBERED_UUIDS = 1000
"""The number of latest requests whose uuid may not occur again."""

_CLOSE_REQUIRED = ("secureLogin", "userId", "token", "uuid")
_SESSION_EXPIRED_REQUIRED = ("secureLogin", "providerId", "sessionId", "userId", "token", "uuid")
_RESULT_REQUIRED = (
    *("uuid", "userId", "gameId", "gameName", "roundId", "amount"),
    *("reference", "currency", "providerId", "timestamp", "roundDetails"),
)
_RESULT_RESERVED = ("bonusCode", "promoWinAmount", "promoWinReference", "promoCampaignID", "promoCampaignType")


@dataclass(frozen=True, slots=True)
class State:
    """The provider between two requests."""

    member: Member
    account: Account[Any]
    sessions: Sessions
    deliveries: Deliveries
    uuids: tuple[str, ...] = ()
    forced_code: str = ""


def simulator(member: Member) -> Simulator[State]:
    """The simulator of one member of the family."""
    session_expired, result = f"{member.version}/SessionExpired", f"{member.version}/Result"
    return Simulator(
        start=lambda account, sessions: State(member, account, Sessions.of(sessions), Deliveries()),
        open_session=lambda state, session: replace(state, sessions=state.sessions.opened(session)),
        answer=_answer,
        fail_with=_fail_with,
        emit=_emit,
        pending=lambda state: state.deliveries.pending,
        on_reply=lambda state, delivery, reply: replace(state, deliveries=state.deliveries.on_reply(delivery, reply)),
        open_sessions=lambda state: state.sessions.open,
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


def _fail_with(state: State, code: str) -> State:
    """Raises ValueError for a text that is not one of the family's error codes."""
    if code and not re.fullmatch(r"[1-9][0-9]*", code):
        raise ValueError(f"{code!r} is not an error code of this dialect: give a number such as 998, or nothing")
    return replace(state, forced_code=code)


def _emit(state: State, event: SimulatedEvent, attempt: Attempt) -> State:
    """Any session that was ever opened may still expire or win: an unfinished round outlives its session."""
    session = state.sessions.known[event.session_id]
    ended = {session.session_id} if isinstance(event, Expire) else set()
    request = callback_of(state.member, state.account, session, event, attempt)
    return replace(state, sessions=state.sessions.closed(ended), deliveries=state.deliveries.add(request))


# --- CloseSession -----------------------------------------------------------------------------------------------------


class _Refusal(Exception):
    """A request that the document does not allow, with the code of the answer."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


def _answer(state: State, request: HttpRequest) -> tuple[State, HttpReply]:
    if (request.method, request.path) != ("POST", f"/{state.member.version}/CloseSession"):
        return state, HttpReply(404, (("Content-Type", "text/plain"),), b"Not Found\n")
    try:
        call = _read(state, request)
    except _Refusal as refusal:
        return state, _reply(refusal.code, refusal.description)
    state = replace(state, uuids=(*state.uuids, call["uuid"])[-REMEMBERED_UUIDS:])
    if state.forced_code:
        return state, _reply(int(state.forced_code), "Simulated failure")
    return _close(state, call["userId"], call.get("gameId", ""))


def _close(state: State, user_id: str, game_id: str) -> tuple[State, HttpReply]:
    """Closes the player's sessions. clearHistory changes nothing that is simulated."""
    theirs = [session for session in state.sessions.known.values() if session.user_id == user_id]
    if not theirs:
        return state, _reply(62, "Player not found")
    ending = {session.session_id for session in theirs if game_id in ("", session.game_id)} & state.sessions.open_ids
    if not ending:
        return state, _reply(17, "No active session")
    return replace(state, sessions=state.sessions.closed(ending)), _reply(0, "Success")


def _reply(code: int, description: str) -> HttpReply:
    body = json.dumps({"error": code, "description": description}, indent=2)
    return HttpReply(200, (("Content-Type", "application/json"),), body.encode())


def _read(state: State, request: HttpRequest) -> dict[str, Any]:
    """The members of the call, if the document, the credentials and the uuid allow them. Raises _Refusal."""
    if request.query or request.header("Content-Type") != "application/json":
        raise _Refusal(57, "Invalid parameters: the request is a plain POST of application/json")
    call = _parse(request.body)
    _check_form(state.member, call)
    if call["secureLogin"] != state.account.settings.secure_login:
        raise _Refusal(54, "Wrong secureLogin")
    # Without a configured token it accepts any: it cannot know the player's.
    if state.account.token is not None and call["token"] != state.account.token.reveal():
        raise _Refusal(401, "Unauthorized")
    if call["uuid"] in state.uuids:
        raise _Refusal(57, "Invalid parameters: uuid was used before")
    return call


def _check_form(member: Member, call: dict[str, Any]) -> None:
    for name in _CLOSE_REQUIRED:
        if call.get(name) in (None, ""):
            raise _Refusal(64, f"Empty mandatory field '{name}'")
    for name, value in call.items():
        known = name in _CLOSE_REQUIRED or name in _close_optional(member)
        if not known or not _well_formed(name, value):
            raise _Refusal(57, f"Invalid parameters: {name}")


def _well_formed(name: str, value: object) -> bool:
    if name == "clearHistory":
        return type(value) is int and value in {0, 1}
    return isinstance(value, str) and value != ""


def _parse(body: bytes) -> dict[str, Any]:
    try:
        call = json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise _Refusal(57, "Invalid parameters: the body is not JSON") from None
    if not isinstance(call, dict):
        raise _Refusal(57, "Invalid parameters: the body is not a JSON object")
    return call


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(members)
    if len(read) != len(members):
        raise _Refusal(57, "Invalid parameters: a member occurs twice")
    return read
