"""Eliab: closes one session by its id. Values are in headers, and the HTTP status has most of the answer.

Document: 003_046479595b70fca9.txt.
"""

import json
import re
from typing import Literal, NoReturn

import msgspec

from adapters.contract import (
    Account,
    Adapter,
    AdapterSettings,
    Attempt,
    Call,
    Closed,
    CloseSession,
    Device,
    FieldInvalid,
    HttpReply,
    HttpRequest,
    Outcome,
    ProviderAnswer,
    ProviderRefused,
    RefusalKind,
    SensitiveFields,
    Unsupported,
    effective_token,
    exceeded_bound,
    kind_by_status,
    sanitize_text,
)


class EliabSettings(AdapterSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Eliab has no settings beyond the token."""


# --- The request ------------------------------------------------------------------------------------------------------

_VISIBLE = re.compile(r"[!-~]+")
_PRINTABLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_VERSION = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)){2}")


def _encode(account: Account[EliabSettings], call: CloseSession, _attempt: Attempt) -> HttpRequest:
    if call.game_id:
        raise Unsupported("game_id", "This provider closes by session, not by game: leave game_id empty")
    if call.clear_history:
        raise Unsupported("clear_history", "This provider cannot remove a round's history: ask without it")
    if not _VISIBLE.fullmatch(call.session_id):
        raise FieldInvalid("session_id", "This provider closes by session: give its id, in visible ASCII")
    return HttpRequest(
        method="POST",
        path="/v1.0/session/close",
        headers=(
            # Exactly as in the document, with its semicolons.
            ("Content-Type", "application/json; multipart/form-data;"),
            ("Authorization", f"Basic {_token(account, call)}"),
            ("SessionID", call.session_id),
            *_device(call.device),
        ),
        body=b'{"requestContent":{}}',
    )


def _token(account: Account[EliabSettings], call: CloseSession) -> str:
    """The access token, which follows the word Basic unchanged: it is not base64 of user and password."""
    token = effective_token(account, call)
    if not _VISIBLE.fullmatch(token):
        raise FieldInvalid(
            "token", "A close needs an access token in visible ASCII, without the word Basic: give one, or configure it"
        )
    return token


def _device(device: Device) -> tuple[tuple[str, str], ...]:
    if device.os and not _PRINTABLE.fullmatch(device.os):
        raise FieldInvalid("device.os", "device.os is sent in a header: give it in printable ASCII, or leave it empty")
    if device.app_version and not _VERSION.fullmatch(device.app_version):
        raise FieldInvalid("device.app_version", "device.app_version is X.Y.Z, for example 1.0.10, or empty")
    headers = (("OS", device.os), ("AppVersion", device.app_version))
    return tuple((name, value) for name, value in headers if value)


# --- The answer -------------------------------------------------------------------------------------------------------

_WHITESPACE = " \t\r\n"


class _Info(msgspec.Struct, frozen=True, rename="camel"):
    """The Info object. Its sessionId is required and not compared, since the document shortens it."""

    type: Literal["success", "warning", "error", "info"]
    title: str
    message: str
    session_id: str


class _Answer(msgspec.Struct, frozen=True):
    """The body of every answer, with any status. Other members are tolerated."""

    info: _Info


class _NotTheDialect(Exception):
    """A body without an Info object."""


def _decode(account: Account[EliabSettings], reply: HttpReply) -> Closed:
    try:
        info = _read_info(reply.body)
    except _NotTheDialect:
        info = None
    answer = ProviderAnswer(
        code=info.type if info and reply.status == 200 else str(reply.status),
        description=sanitize_text(account, f"{info.title}: {info.message}") if info else "",
        http_status=reply.status,
    )
    meaning = kind_by_status(reply.status) or _meaning(reply.status, info)
    if isinstance(meaning, Outcome):
        return Closed(meaning, answer)
    raise ProviderRefused(meaning, answer, _MESSAGES[meaning])


def _meaning(status: int, info: _Info | None) -> Outcome | RefusalKind:
    if info is None:
        return RefusalKind.MALFORMED
    if status == 200:
        return RefusalKind.REFUSED_UNLISTED if info.type == "error" else Outcome.CLOSED
    if status in {404, 410}:
        # Our reading: the document has no status for a session that is gone. An Info object is required, since any
        # server answers 404 to a wrong address.
        return Outcome.NO_ACTIVE_SESSION
    return RefusalKind.REFUSED if 400 <= status <= 499 else RefusalKind.MALFORMED


def _read_info(body: bytes) -> _Info:
    """The Info object of a body. Raises _NotTheDialect where there is none, or the JSON is ambiguous."""
    try:
        text = body.decode("utf-8-sig")  # a byte order mark is no part of the answer
        if exceeded_bound(text):
            raise _NotTheDialect
        corrected = _without_trailing_comma(text)
        answer = json.loads(corrected, object_pairs_hook=_unique, parse_constant=_no_constant)
        if corrected != text and set(answer) != {"info"}:
            raise _NotTheDialect
        return msgspec.convert(answer, _Answer).info
    except (ValueError, RecursionError, msgspec.ValidationError):
        raise _NotTheDialect from None


def _without_trailing_comma(text: str) -> str:
    """The text without the comma that the document prints after the Info object; any other text unchanged."""
    answer = text.rstrip(_WHITESPACE)
    members = answer.removesuffix("}").rstrip(_WHITESPACE)
    if not (answer.endswith("}") and members.endswith(",")):
        return text
    return f"{members.removesuffix(',')}}}"


def _unique(members: list[tuple[str, object]]) -> dict[str, object]:
    read = dict(members)
    if len(read) != len(members):
        raise _NotTheDialect
    return read


def _no_constant(_name: str) -> NoReturn:
    raise _NotTheDialect


_MESSAGES = {
    RefusalKind.THROTTLED: "The provider asks to be called less often: try again later",
    RefusalKind.FAILED: "The provider had an internal error: whether it closed is unknown, try again",
    RefusalKind.CREDENTIALS_REJECTED: "The provider rejects the access token: check the token",
    RefusalKind.REFUSED: "The provider refuses to close: its description has the reason",
    RefusalKind.REFUSED_UNLISTED: "The provider reports an error with status 200: ask the vendor what it did",
    RefusalKind.MALFORMED: "The answer is not this dialect's: check base_url, and the proxies on the route",
}

ADAPTER = Adapter(
    name="eliab",
    display_name="Eliab",
    settings=EliabSettings,
    masked=SensitiveFields(headers=frozenset({"authorization"})),
    close_session=Call(
        encode=_encode,
        decode=_decode,
        required_fields=frozenset({"session_id", "token"}),
        optional_fields=frozenset({"device"}),
        idempotent=True,
    ),
)
