"""The example adapter: a correct adapter for an invented provider, the Parlour, whose dialect is unlike the real ones.

The tests add it to `adapters/`, and `tests.adapters.broken` breaks it in one place at a time. This is the Parlour's
document, in full. Everything is form-encoded UTF-8 (`application/x-www-form-urlencoded`).

PUT: we call `PUT {base}/seats/clear?v=2` with the header `X-Desk: <token>` and the fields `player` and `call` (a
separate id for each request), both required, and `game` (only that game's seat) and `forget` (1: the open round is
dropped), both optional. The Parlour answers 200 with `said`, and with a description in `words`. `said` is `cleared`,
`empty` (there was no seat), `who` (player unknown), `desk` (token wrong), `again` (internal error, send again),
`trouble` (internal error, do not send again), or `no` (refused).

Callbacks: the Parlour calls `POST {ours}/left` (house, seat, player) when a seat is left, and `POST {ours}/paid` (slip,
player, coin, won, round, game) when a round is won. `X-Seal` is its signature: the hexadecimal HMAC-SHA256 of the body
with the token as key. We answer 200 with `said=thanks`, for a payment with `slip`, `coin` and `purse` too; or with the
fault in `said` and the field in `about`. It sends again what we answer with `again`, and what we do not answer.
"""

import hashlib
import hmac
import re
from decimal import Decimal
from types import MappingProxyType
from urllib.parse import parse_qsl, urlencode

from adapters.contract import (
    Accepted,
    Account,
    Adapter,
    AdapterSettings,
    Attempt,
    Call,
    Callback,
    CallbackAnswer,
    CallbackFault,
    CallbackRefused,
    Closed,
    CloseSession,
    Credited,
    FieldInvalid,
    HttpReply,
    HttpRequest,
    Outcome,
    PartialCallback,
    ProviderAnswer,
    ProviderRefused,
    RefusalKind,
    Rejected,
    Result,
    SensitiveFields,
    SessionExpired,
    Unsupported,
    is_reference,
)

FORM = "application/x-www-form-urlencoded"

OUTCOMES = {"cleared": Outcome.CLOSED, "empty": Outcome.NO_ACTIVE_SESSION}
REFUSALS = {
    "who": RefusalKind.USER_UNKNOWN,
    "desk": RefusalKind.CREDENTIALS_REJECTED,
    "again": RefusalKind.FAILED,
    "trouble": RefusalKind.FAILED_PERMANENTLY,
    "no": RefusalKind.REFUSED,
}
FAULTS = {
    CallbackFault.UNREADABLE: "what",
    CallbackFault.CREDENTIALS_WRONG: "seal",
    CallbackFault.FIELD_MISSING: "missing",
    CallbackFault.FIELD_MALFORMED: "odd",
    CallbackFault.AMOUNT_INVALID: "sum",
    CallbackFault.AMOUNT_ABOVE_LIMIT: "too-much",
    CallbackFault.REFERENCE_REUSED: "twice",
    CallbackFault.ACCOUNT_UNKNOWN: "who",
    CallbackFault.CURRENCY_MISMATCH: "coin",
    CallbackFault.TRY_AGAIN: "again",
}


class Settings(AdapterSettings, frozen=True):
    """`house` is our house; the Parlour has several."""

    house: str


class NotAForm(Exception):
    """The bytes are not the Parlour's form."""


def read_form(body: bytes) -> dict[str, str]:
    """The fields of a form, each at most once. Raises NotAForm."""
    if not body:
        return {}
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise NotAForm("not a form") from None  # the cause quotes what it could not read
    fields = dict(pairs)
    if len(fields) != len(pairs) or not all(value.isprintable() for pair in pairs for value in pair):
        raise NotAForm("a field twice, or a control character")
    return fields


# --- The close --------------------------------------------------------------------------------------------------------


def encode(account: Account[Settings], call: CloseSession, attempt: Attempt) -> HttpRequest:
    """`PUT /seats/clear`. Raises Unsupported and FieldInvalid."""
    if call.session_id:
        raise Unsupported("session_id", "The Parlour clears by player and game, not by session.")
    token = call.token or account.token
    if token is None:
        raise FieldInvalid("token", "The Parlour needs a desk token: give one, or configure it.")
    if not re.fullmatch("[!-~]+", token.reveal()):
        raise FieldInvalid("token", "A desk token travels in a header: visible ASCII only.")
    fields = {"player": call.user_id, "call": attempt.uuid}
    if call.game_id:
        fields["game"] = call.game_id
    if call.clear_history:
        fields["forget"] = "1"
    headers = (("Content-Type", FORM), ("X-Desk", token.reveal()))
    return HttpRequest("PUT", "/seats/clear", (("v", "2"),), headers, urlencode(fields).encode())


def decode(account: Account[Settings], reply: HttpReply) -> Closed:
    """The meaning of `said`. Raises ProviderRefused."""
    kind = _kind_of_status(reply.status)
    if kind is not None:
        raise ProviderRefused(kind, _answer(account, reply, {}), f"The Parlour answered HTTP {reply.status}.")
    try:
        fields = read_form(reply.body)
    except NotAForm as error:
        raise ProviderRefused(RefusalKind.MALFORMED, _answer(account, reply, {}), "Not the Parlour's form.") from error
    answer = _answer(account, reply, fields)
    if not answer.code:
        raise ProviderRefused(RefusalKind.MALFORMED, answer, "The Parlour's answer has no code.")
    if answer.code in OUTCOMES:
        return Closed(OUTCOMES[answer.code], answer)
    refusal = REFUSALS.get(answer.code, RefusalKind.REFUSED_UNLISTED)
    raise ProviderRefused(refusal, answer, f"The Parlour answered {answer.code!r}.")


def _kind_of_status(status: int) -> RefusalKind | None:
    if status == 200:
        return None
    if status == 429:
        return RefusalKind.THROTTLED
    if status in {401, 403}:
        return RefusalKind.CREDENTIALS_REJECTED
    return RefusalKind.FAILED if status >= 500 else RefusalKind.MALFORMED


def _answer(account: Account[Settings], reply: HttpReply, fields: dict[str, str]) -> ProviderAnswer:
    """The provider's code and description, with an echoed token masked."""
    code, words = fields.get("said", ""), fields.get("words", "")
    if account.token:
        code, words = (text.replace(account.token.reveal(), "***") for text in (code, words))
    return ProviderAnswer(code, words, reply.status)


# --- The callbacks ----------------------------------------------------------------------------------------------------


def seal(token: str, body: bytes) -> str:
    """The right value of `X-Seal`."""
    return hmac.new(token.encode(), body, hashlib.sha256).hexdigest()


def verify(account: Account[Settings], request: HttpRequest) -> None:
    """The seal is that of these bytes. Raises CallbackRefused."""
    given = (request.header("X-Seal") or "").encode(errors="replace")
    wanted = seal(account.token.reveal(), request.body).encode() if account.token else b""
    if not wanted or not hmac.compare_digest(given, wanted):
        raise CallbackRefused(CallbackFault.CREDENTIALS_WRONG, "The seal is not that of this body.")


def decode_left(account: Account[Settings], request: HttpRequest) -> SessionExpired:
    """A seat was left. Raises CallbackRefused."""
    fields = _read(request)
    house, seat, player = _required(fields, "house", "seat", "player")
    return SessionExpired(house, seat, player)


def decode_paid(account: Account[Settings], request: HttpRequest) -> Result:
    """A round was won. Raises CallbackRefused."""
    fields = _read(request)
    slip, player, coin, won, game_round, game = _required(fields, "slip", "player", "coin", "won", "round", "game")
    if not re.fullmatch(r"(0|[1-9][0-9]*)(\.[0-9]{1,18})?", won) or len(won.replace(".", "")) > 32:
        raise CallbackRefused(CallbackFault.AMOUNT_INVALID, "No sum.", field="won", readable=_readable(fields))
    if not is_reference(slip):
        raise CallbackRefused(CallbackFault.FIELD_MALFORMED, "No slip.", field="slip", readable=_readable(fields))
    return Result(slip, player, coin, Decimal(won), game_round, game)


def encode_reply(account: Account[Settings], answer: CallbackAnswer) -> HttpReply:
    """Our answer in the Parlour's dialect."""
    match answer:
        case Accepted():
            fields = {"said": "thanks"}
        case Credited(transaction_id, currency, cash):
            fields = {"said": "thanks", "slip": transaction_id, "coin": currency, "purse": format(cash, "f")}
        case Rejected(fault, field):
            fields = {"said": FAULTS[fault]} | ({"about": field} if field else {})
    return HttpReply(200, (("Content-Type", FORM),), urlencode(fields).encode())


def _read(request: HttpRequest) -> dict[str, str]:
    try:
        return read_form(request.body)
    except NotAForm as error:
        raise CallbackRefused(CallbackFault.UNREADABLE, "Not the Parlour's form.") from error


def _required(fields: dict[str, str], *names: str) -> tuple[str, ...]:
    for name in names:
        if not fields.get(name):
            raise CallbackRefused(
                CallbackFault.FIELD_MISSING, f"{name} is missing.", field=name, readable=_readable(fields)
            )
    return tuple(fields[name] for name in names)


def _readable(fields: dict[str, str]) -> PartialCallback:
    return PartialCallback(fields.get("slip", ""), fields.get("player", ""), fields.get("seat", ""))


ADAPTER = Adapter(
    name="example",
    display_name="The Parlour (an example)",
    settings=Settings,
    masked=SensitiveFields(headers=frozenset({"x-desk", "x-seal"})),
    close_session=Call(
        encode=encode,
        decode=decode,
        required_fields=frozenset({"token"}),
        optional_fields=frozenset({"game_id", "clear_history"}),
        ends_all_sessions=True,
        idempotent=True,
    ),
    callbacks=MappingProxyType(
        {
            "left": Callback(verify, decode_left, encode_reply),
            "paid": Callback(verify, decode_paid, encode_reply, notification=Result),
        }
    ),
)
