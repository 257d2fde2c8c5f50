"""Decodes the family's callbacks: SessionExpired and Result.

Documents: 002_7007c2a68586bb11.txt (SessionExpired) and 004_a93688c609d824ae.txt (Auto Closing, which is a Result).
Checked in this order: readable, credentials, required fields, their form, the amounts.
"""

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from adapters.contract import (
    Account,
    Callback,
    CallbackFault,
    CallbackRefused,
    HttpRequest,
    PartialCallback,
    PromoPrize,
    Result,
    SessionExpired,
    is_reference,
    unsigned,
)
from adapters.luckymonaco_common.money import NotMoney, read_money, read_money_number
from adapters.luckymonaco_common.replies import encode_reply
from adapters.luckymonaco_common.settings import FamilySettings
from adapters.luckymonaco_common.strict_json import Json, NotStrictJson, Number, find_text, read_object

_MAX_ID = 255
_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}")
_NOT_ID = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_INTEGER = re.compile("(?:0|[1-9][0-9]{0,254})")
_READABLE = ("reference", "userId", "sessionId")
"""What is read of a refused callback."""
_CURRENCY = re.compile(r"[A-Z0-9]{3,10}")
_MILLISECONDS = re.compile("[0-9]{1,14}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ABSENT = (None, "")


def session_expired() -> Callback[FamilySettings, SessionExpired]:
    """SessionExpired, the same in every member of the family."""
    return Callback(
        verify=unsigned, decode=_decode_session_expired, encode_reply=encode_reply, notification=SessionExpired
    )


def result(*, names_session: bool = False) -> Callback[FamilySettings, Result]:
    """Result; `names_session` where the member of the family adds sessionId to it."""

    def decode(account: Account[FamilySettings], request: HttpRequest) -> Result:
        message = _read(account, request)
        # The table has roundId, the example roundid: one field.
        round_name = "roundid" if message.has("roundid") and not message.has("roundId") else "roundId"
        # In the order of the document's table.
        message.require("uuid", "userId", "gameId", "gameName", round_name, "amount", "reference")
        message.require("currency", "providerId", "timestamp", "roundDetails")
        if message.has("promoWinAmount") or message.has("promoWinReference"):
            message.require("promoWinAmount", "promoWinReference")
        return _result(message, round_name, names_session)

    return Callback(verify=unsigned, decode=decode, encode_reply=encode_reply, notification=Result)


def _decode_session_expired(account: Account[FamilySettings], request: HttpRequest) -> SessionExpired:
    message = _read(account, request)
    if account.settings.verify_token:
        message.check_credential("token", account.token.reveal() if account.token else None)
    # The table requires secureLogin, token and uuid too; its own example lacks two of them.
    message.require("providerId", "sessionId", "userId")
    return SessionExpired(
        provider_id=message.id("providerId"), session_id=message.id("sessionId"), user_id=message.id("userId")
    )


def _result(message: "_Message", round_name: str, names_session: bool) -> Result:
    """The typed Result. Arguments are evaluated in this order: every field's form is checked before the amounts."""
    if message.has("roundId") and message.has("roundid"):
        raise message.refused(CallbackFault.FIELD_MALFORMED, "roundId")
    message.id("uuid")
    message.expect("gameName", str)
    message.expect("roundDetails", list, str, dict)
    message.expect("amount", str, Number)
    message.expect("promoWinAmount", str, Number, type(None))
    promo_reference = message.reference("promoWinReference") if message.has("promoWinReference") else ""
    return Result(
        reference=message.reference("reference"),
        user_id=message.id("userId"),
        currency=message.matching("currency", _CURRENCY),
        round_id=message.id(round_name),
        game_id=message.id("gameId"),
        provider_id=message.id("providerId"),
        session_id=message.optional_id("sessionId") if names_session else "",
        bonus_code=message.optional_id("bonusCode"),
        promo_campaign_id=message.optional_id("promoCampaignID"),
        promo_campaign_type=message.optional_id("promoCampaignType"),
        sent_at=message.time("timestamp"),
        amount=message.money("amount"),
        promo=PromoPrize(message.money("promoWinAmount"), promo_reference) if promo_reference else None,
    )


# --- The members of one message ---------------------------------------------------------------------------------------


def _read(account: Account[FamilySettings], request: HttpRequest) -> "_Message":
    """The message of a request, if it is readable and its secureLogin, where it has one, is ours."""
    try:
        message = _Message(read_object(request.body))
    except NotStrictJson as error:
        readable = _partial(find_text(request.body, name) for name in _READABLE)
        raise CallbackRefused(CallbackFault.UNREADABLE, f"The body is {error}", readable=readable) from None
    if account.settings.require_secure_login and not message.has("secureLogin"):
        raise message.refused(CallbackFault.CREDENTIALS_WRONG, "secureLogin")
    message.check_credential("secureLogin", account.settings.secure_login)
    return message


@dataclass(frozen=True, slots=True)
class _Message:
    """A callback's JSON object. Its methods read members and raise CallbackRefused with the dialect's names."""

    members: dict[str, Json] = field(repr=False)

    def has(self, name: str) -> bool:
        """Whether a member is there. Null and the empty string count as absent."""
        return self.members.get(name) not in _ABSENT

    def require(self, *names: str) -> None:
        for name in names:
            if not self.has(name):
                raise self.refused(CallbackFault.FIELD_MISSING, name)

    def check_credential(self, name: str, ours: str | None) -> None:
        """Refuses a credential that is present and is not ours. Where `ours` is None, every one is wrong."""
        theirs = self.members.get(name)
        if theirs is None:
            return
        if not (isinstance(theirs, str) and ours is not None and _same(theirs, ours)):
            raise self.refused(CallbackFault.CREDENTIALS_WRONG, name)

    def expect(self, name: str, *types: type) -> None:
        if not isinstance(self.members.get(name), types):
            raise self.refused(CallbackFault.FIELD_MALFORMED, name)

    def matching(self, name: str, form: re.Pattern[str]) -> str:
        value = self.members.get(name)
        if not isinstance(value, str) or not form.fullmatch(value):
            raise self.refused(CallbackFault.FIELD_MALFORMED, name)
        return value

    def id(self, name: str) -> str:
        """An id, which may be a JSON integer too: by its digits."""
        value = self.members.get(name)
        if isinstance(value, Number) and _INTEGER.fullmatch(value.literal):
            return value.literal
        return self.matching(name, _ID)

    def optional_id(self, name: str) -> str:
        return self.id(name) if self.has(name) else ""

    def reference(self, name: str) -> str:
        value = self.id(name)
        if not is_reference(value):
            raise self.refused(CallbackFault.FIELD_MALFORMED, name)
        return value

    def time(self, name: str) -> datetime | None:
        """A time in milliseconds since 1970; None for any other text: it is not judged."""
        value = self.members.get(name)
        text = value.literal if isinstance(value, Number) else str(value)
        return _EPOCH + timedelta(milliseconds=int(text)) if _MILLISECONDS.fullmatch(text) else None

    def money(self, name: str) -> Decimal:
        value = self.members.get(name)
        try:
            return read_money_number(value.literal) if isinstance(value, Number) else read_money(str(value))
        except NotMoney:
            raise self.refused(CallbackFault.AMOUNT_INVALID, name) from None

    def refused(self, fault: CallbackFault, name: str) -> CallbackRefused:
        """The refusal because of one field, with the readable values of the message."""
        readable = _partial(self._text(id_name) for id_name in _READABLE)
        return CallbackRefused(fault, _MESSAGES[fault].format(name), field=name, readable=readable)

    def _text(self, name: str) -> str:
        value = self.members.get(name)
        return value.literal if isinstance(value, Number) else value if isinstance(value, str) else ""


def _partial(texts: Iterable[str]) -> PartialCallback:
    """What a person looks for: without the characters that no id has, and no longer than an id."""
    return PartialCallback(*(_NOT_ID.sub("\N{REPLACEMENT CHARACTER}", text)[:_MAX_ID] for text in texts))


def _same(theirs: str, ours: str) -> bool:
    """Compares in constant time. JSON can escape lone surrogates, which plain UTF-8 cannot encode."""
    return hmac.compare_digest(theirs.encode("utf-8", "surrogatepass"), ours.encode("utf-8", "surrogatepass"))


_MESSAGES = {
    CallbackFault.CREDENTIALS_WRONG: "{} is absent, or not this provider's own: check the vendor's settings",
    CallbackFault.FIELD_MISSING: "The required field {} is absent, null or empty",
    CallbackFault.FIELD_MALFORMED: "{} has a wrong type, is too long, has invalid characters, or occurs twice",
    CallbackFault.AMOUNT_INVALID: "{} is not a plain decimal amount of at most 32 digits, 18 after the point",
}
