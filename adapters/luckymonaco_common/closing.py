"""CloseSession of the family: encodes the request and decodes the answer. Members differ in path and clearHistory.

Documents: 000_b8e14c1351e36174.txt (LuckyMonaco) and 001_2be22584ec1b1196.txt (Kyren).
"""

import json
from dataclasses import dataclass

from adapters.contract import (
    Account,
    Attempt,
    Call,
    Closed,
    CloseSession,
    CloseSessionCall,
    FieldInvalid,
    HttpReply,
    HttpRequest,
    Outcome,
    ProviderAnswer,
    ProviderRefused,
    RefusalKind,
    Unsupported,
    effective_token,
    kind_by_status,
    sanitize_text,
)
from adapters.luckymonaco_common.codes import CODE, KINDS, SUCCESS
from adapters.luckymonaco_common.settings import FamilySettings
from adapters.luckymonaco_common.strict_json import SURROGATE, NotStrictJson, Number, read_object

_WRITE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def close_session(path: str, *, clears_history: bool = False, warning: str = "") -> CloseSessionCall[FamilySettings]:
    """The close of one member of the family; `clears_history` where its document has clearHistory."""

    def encode(account: Account[FamilySettings], call: CloseSession, attempt: Attempt) -> HttpRequest:
        if call.session_id:
            raise Unsupported("session_id", "This provider closes by player, not by session: leave session_id empty")
        if call.clear_history and not clears_history:
            raise Unsupported("clear_history", "This provider cannot remove a round's history: ask without it")
        return HttpRequest(
            method="POST",
            path=path,
            headers=(("Content-Type", "application/json"),),
            body=_body(account, call, attempt, clears_history),
        )

    return Call(
        encode=encode,
        decode=_decode,
        required_fields=frozenset({"token"}),
        optional_fields=frozenset({"game_id", "clear_history"}) if clears_history else frozenset({"game_id"}),
        ends_all_sessions=True,
        idempotent=True,
        warning=warning,
    )


def _body(account: Account[FamilySettings], call: CloseSession, attempt: Attempt, clears_history: bool) -> bytes:
    """The body, members in the order of the document's example."""
    body: dict[str, str | int] = {"secureLogin": account.settings.secure_login}
    if call.game_id:
        body["gameId"] = _writable("game_id", call.game_id)
    body["userId"] = _writable("user_id", call.user_id)
    if clears_history:
        # The table has a string, the example a number: providers accept the example.
        body["clearHistory"] = int(call.clear_history)
    token = effective_token(account, call)
    if not token:
        raise FieldInvalid("token", "A close needs a token: give one, or set the provider's token in the configuration")
    body["token"] = _writable("token", token)
    body["uuid"] = attempt.uuid
    return _WRITE(body).encode()


def _writable(field: str, value: str) -> str:
    if not value or SURROGATE.search(value):
        raise FieldInvalid(field, f"{field} is empty or cannot be written as UTF-8: give it as the provider has it")
    return value


# --- The answer -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Envelope:
    """The members of every answer of the family."""

    code: str
    description: str


def _envelope(body: bytes) -> _Envelope | None:
    """The envelope; None where the body is not the dialect's. A table prints `eroor`, which no provider sends."""
    try:
        members = read_object(body)
    except NotStrictJson:
        return None
    error, description = members.get("error"), members.get("description")
    code = error.literal if isinstance(error, Number) else error
    if not isinstance(code, str) or not CODE.fullmatch(code):
        return None
    # The table has it as optional and a decimal: the description never makes a close fail.
    return _Envelope(code, description if isinstance(description, str) else "")


def _decode(account: Account[FamilySettings], reply: HttpReply) -> Closed:
    envelope = _envelope(reply.body)
    meaning = kind_by_status(reply.status) or _meaning(account.settings, reply.status, envelope)
    # A refusal with the code of success was refused by its status.
    has_code = envelope is not None and (envelope.code != SUCCESS or isinstance(meaning, Outcome))
    answer = ProviderAnswer(
        code=envelope.code if envelope and has_code else str(reply.status),
        description=sanitize_text(account, envelope.description) if envelope else "",
        http_status=reply.status,
    )
    if isinstance(meaning, Outcome):
        return Closed(meaning, answer)
    raise ProviderRefused(meaning, answer, _MESSAGES[meaning])


def _meaning(settings: FamilySettings, status: int, envelope: _Envelope | None) -> Outcome | RefusalKind:
    if envelope is None:
        return RefusalKind.MALFORMED
    # A refusal may have another status; a success with another status than 200 is not the dialect.
    if status != 200 and not (400 <= status <= 499 and envelope.code != SUCCESS):
        return RefusalKind.MALFORMED
    if envelope.code == SUCCESS:
        return Outcome.CLOSED
    if envelope.code in settings.no_session_codes:
        return Outcome.NO_ACTIVE_SESSION
    return KINDS.get(envelope.code, RefusalKind.REFUSED_UNLISTED)


_MESSAGES = {
    RefusalKind.THROTTLED: "The provider asks to be called less often: try again later",
    RefusalKind.FAILED: "The provider had an internal error: whether it closed is unknown, try again",
    RefusalKind.FAILED_PERMANENTLY: "The provider had an internal error and asks not to be tried again: ask the vendor",
    RefusalKind.CREDENTIALS_REJECTED: "The provider rejects the credentials: check secure_login and the token",
    RefusalKind.USER_UNKNOWN: "The provider does not know this player: check user_id",
    RefusalKind.REFUSED: "The provider refuses to close: its code has the reason",
    RefusalKind.REFUSED_UNLISTED: "The provider answers with an undocumented code: ask the vendor whether it closed",
    RefusalKind.MALFORMED: "The answer is not this dialect's: check base_url, and the proxies on the route",
}
