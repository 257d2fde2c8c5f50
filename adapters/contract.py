"""The contract between the gateway and an adapter: values, functions over values, and a closed set of refusals.

An adapter's function gets everything it may use as arguments (the account, the call, the attempt) and returns bytes or
a typed value. It does no I/O, reads no clock, uses no random number and logs nothing. What it cannot do, it refuses
with one of the exceptions at the end of this module, and with no other.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum, unique
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec

from adapters.http import Headers as Headers
from adapters.http import HttpReply as HttpReply
from adapters.http import HttpRequest as HttpRequest
from adapters.json_bounds import exceeded_bound as exceeded_bound
from adapters.reference import is_reference as is_reference
from adapters.secret import Secret as Secret


class AdapterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the settings that an adapter adds to a provider's configuration; empty where it adds none.

    `__post_init__` checks what types cannot: it raises ValueError, and the message begins with the field's name.
    """


SettingsT = TypeVar("SettingsT", bound=AdapterSettings)
RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")
NotificationT_co = TypeVar("NotificationT_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Account(Generic[SettingsT]):
    """One configured provider."""

    provider: str
    settings: SettingsT
    token: Secret | None = None
    """The provider's `token` from the configuration: used where the caller gives none."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to execute a call: an encoder's only clock and only randomness."""

    number: int
    """Counts from 1 over the life of the request_id."""
    uuid: str
    """32 lower-case hexadecimal digits, new for each attempt."""
    now: datetime
    """Aware, UTC."""


# --- Calls: the gateway sends a request to the provider ---------------------------------------------------------------


@unique
class Outcome(StrEnum):
    """The result of a close. Both are success: the player cannot play on."""

    CLOSED = "CLOSED"
    NO_ACTIVE_SESSION = "NO_ACTIVE_SESSION"


@unique
class Certainty(StrEnum):
    """Of a failure: whether the provider may have executed the call."""

    NOT_SENT = "NOT_SENT"
    REFUSED = "REFUSED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Device:
    """The player's device, where the caller knows it. `app_version` is X.Y.Z or empty."""

    os: str = ""
    app_version: str = ""


@dataclass(frozen=True, slots=True)
class CloseSession:
    """End a player's sessions at one provider. An empty string means 'not given'.

    The gateway has checked lengths and control characters. The encoder checks what only its dialect requires.
    """

    user_id: str
    session_id: str = ""
    game_id: str = ""
    token: Secret | None = None
    clear_history: bool = False
    device: Device = Device()


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """The provider's answer, with its code and its description."""

    code: str
    description: str
    http_status: int


@dataclass(frozen=True, slots=True)
class Closed:
    """A close that succeeded."""

    outcome: Outcome
    answer: ProviderAnswer


@dataclass(frozen=True, slots=True)
class Call(Generic[SettingsT, RequestT, AnswerT]):
    """One operation that the gateway can call at a provider.

    `encode` raises Unsupported or FieldInvalid for what the dialect cannot express; `decode` raises ProviderRefused
    for every answer that is not a success, including one that is not the dialect at all. Neither raises anything else.
    """

    encode: Callable[[Account[SettingsT], RequestT, Attempt], HttpRequest]
    decode: Callable[[Account[SettingsT], HttpReply], AnswerT]
    required_fields: frozenset[str] = frozenset()
    """Fields of the request, beyond user_id, without which `encode` refuses (`token` may come from the account)."""
    optional_fields: frozenset[str] = frozenset()
    """Optional fields that are sent; `encode` refuses the others of game_id, session_id, clear_history when given."""
    ends_all_sessions: bool = False
    """Whether one call without session_id and game_id ends every session of the user at this provider."""
    idempotent: bool = False
    """Whether a repeated call does no harm, also where the result of the first is unknown."""
    warning: str = ""
    """What the provider's document warns of and the gateway cannot check."""


CloseSessionCall = Call[SettingsT, CloseSession, Closed]


# --- Callbacks: the provider sends a notification, the gateway answers ------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionExpired:
    """A session ended at the provider. The three fields together identify the event."""

    provider_id: str
    session_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class PromoPrize:
    """A promotional prize inside a Result: a second credit with a separate reference."""

    amount: Decimal
    reference: str


@dataclass(frozen=True, slots=True)
class Result:
    """A win to be credited exactly once by `reference`. `amount` may be 0: a loss."""

    reference: str
    user_id: str
    currency: str
    amount: Decimal
    round_id: str
    game_id: str
    provider_id: str = ""
    session_id: str = ""
    promo: PromoPrize | None = None
    bonus_code: str = ""
    promo_campaign_id: str = ""
    promo_campaign_type: str = ""
    sent_at: datetime | None = field(default=None, compare=False)
    """The provider's time of the Result, aware; None where the message has none that can be read."""


Notification = SessionExpired | Result


@unique
class CallbackFault(StrEnum):
    """Everything that can go wrong with a callback; each dialect maps each to one of its codes."""

    UNREADABLE = "UNREADABLE"
    """Not the dialect's form at all: not JSON, duplicate keys, too deep, too large."""
    CREDENTIALS_WRONG = "CREDENTIALS_WRONG"
    FIELD_MISSING = "FIELD_MISSING"
    FIELD_MALFORMED = "FIELD_MALFORMED"
    """Of the wrong type, too long, or with characters that an id cannot have."""
    AMOUNT_INVALID = "AMOUNT_INVALID"
    AMOUNT_ABOVE_LIMIT = "AMOUNT_ABOVE_LIMIT"
    """Above a ceiling of the configuration: the provider must not send again; an operator decides."""
    REFERENCE_REUSED = "REFERENCE_REUSED"
    ACCOUNT_UNKNOWN = "ACCOUNT_UNKNOWN"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    TRY_AGAIN = "TRY_AGAIN"
    """The gateway's fault: store or wallet down, or an unknown outcome. The provider must send again."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The notification is stored, now or by an earlier delivery."""


@dataclass(frozen=True, slots=True)
class Credited:
    """The Result is credited, now or by an earlier delivery. The balances are the current ones."""

    transaction_id: str
    currency: str
    cash: Decimal
    bonus: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The callback was not accepted. `field` is the dialect's name for the field at fault, or empty."""

    fault: CallbackFault
    field: str = ""


CallbackAnswer = Accepted | Credited | Rejected


def unsigned(account: Account[Any], request: HttpRequest) -> None:
    """A `verify` for a dialect without signatures: the key in the URL and TLS authenticate the caller."""


@dataclass(frozen=True, slots=True)
class Callback(Generic[SettingsT, NotificationT_co]):
    """One notification that a provider sends us.

    `verify` runs on the raw bytes before anything is parsed. `verify` and `decode` raise CallbackRefused and nothing
    else. `encode_reply` encodes every answer in the dialect, the gateway's own faults too.
    """

    verify: Callable[[Account[SettingsT], HttpRequest], None]
    decode: Callable[[Account[SettingsT], HttpRequest], NotificationT_co]
    encode_reply: Callable[[Account[SettingsT], CallbackAnswer], HttpReply]
    method: str = "POST"
    notification: type[Notification] = SessionExpired
    """The type that `decode` returns; the gateway needs it for callbacks that are refused too."""


@dataclass(frozen=True, slots=True)
class SensitiveFields:
    """Where a dialect's messages have secrets, which the journal must not keep. Names are in any case."""

    headers: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    """Names of JSON members, at any depth, and of query parameters."""


@dataclass(frozen=True, slots=True)
class Adapter(Generic[SettingsT]):
    """One dialect. An operation that it does not have is absent."""

    name: str
    display_name: str
    settings: type[SettingsT]
    masked: SensitiveFields
    close_session: CloseSessionCall[SettingsT] | None = None
    callbacks: Mapping[str, Callback[SettingsT, Notification]] = field(default_factory=lambda: MappingProxyType({}))
    """By path relative to the callback URL, without a leading slash, as in the provider's document."""


# --- Refusals: the only exceptions that an adapter raises -------------------------------------------------------------


class AdapterRefusal(Exception):
    """Base of the three refusals of a call; a callback's is CallbackRefused."""


class _Unsent(AdapterRefusal):
    """A refusal because of one field. Nothing was sent."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class Unsupported(_Unsent):
    """The dialect cannot express what `field` asks; the caller cannot fix it. Nothing was sent."""


class FieldInvalid(_Unsent):
    """A field is missing or not of the form that this dialect needs; the caller can fix it. Nothing was sent."""


@unique
class RefusalKind(StrEnum):
    """What an answer that is not a success means."""

    THROTTLED = "THROTTLED"
    """HTTP 429."""
    FAILED = "FAILED"
    """HTTP 5xx, or the dialect's 'internal error, retry'."""
    FAILED_PERMANENTLY = "FAILED_PERMANENTLY"
    """The dialect's 'internal error, do not retry'."""
    CREDENTIALS_REJECTED = "CREDENTIALS_REJECTED"
    USER_UNKNOWN = "USER_UNKNOWN"
    REFUSED = "REFUSED"
    """A code that the dialect lists as a refusal: the close did not happen."""
    REFUSED_UNLISTED = "REFUSED_UNLISTED"
    """A well-formed refusal with an undocumented code: whether the close happened is unknown."""
    MALFORMED = "MALFORMED"
    """Not the dialect: another content, a redirect, a 4xx without the dialect's body."""


class ProviderRefused(AdapterRefusal):
    """The provider's answer is not a success. `message` is for an operator and has no secret."""

    def __init__(self, kind: RefusalKind, answer: ProviderAnswer, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.answer = answer
        self.message = message


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and lone surrogates."""


def kind_by_status(status: int) -> RefusalKind | None:
    """The meaning of an HTTP status in every dialect, with any body; None where the body decides."""
    if status == 429:
        return RefusalKind.THROTTLED
    if 500 <= status <= 599:
        return RefusalKind.FAILED
    if status in {401, 403}:
        return RefusalKind.CREDENTIALS_REJECTED
    if 300 <= status <= 399:
        return RefusalKind.MALFORMED
    return None


def effective_token(account: Account[Any], call: CloseSession) -> str:
    """The caller's token, else the account's; empty where there is none."""
    tokens = (token.reveal() for token in (call.token, account.token) if token is not None)
    return next(filter(None, tokens), "")


def sanitize_text(account: Account[Any], text: str) -> str:
    """A provider's text, fit for a ProviderAnswer: printable, and with the account's token masked.

    The gateway masks the caller's token too before it shortens the text, since a cut could leave half of a token.
    """
    printable = _UNPRINTABLE.sub("", text)
    # The token is stripped in the same way, so that an echo of it is found.
    token = _UNPRINTABLE.sub("", account.token.reveal()) if account.token else ""
    return printable.replace(token, "***") if token else printable


@dataclass(frozen=True, slots=True)
class PartialCallback:
    """The readable values of a refused callback, for the reconciliation item; empty where unreadable."""

    reference: str = ""
    user_id: str = ""
    session_id: str = ""


class CallbackRefused(Exception):
    """A callback is refused. `field` is the dialect's name of the field at fault, or empty."""

    def __init__(
        self, fault: CallbackFault, message: str, *, field: str = "", readable: PartialCallback | None = None
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.field = field
        self.readable = readable or PartialCallback()
