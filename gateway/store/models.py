"""The store's typed values. Times are aware and UTC, money is an exact Decimal, '' means 'not given'."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum, unique
from typing import Generic, TypeVar

import msgspec

from adapters.contract import Certainty, Outcome, ProviderAnswer

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A part of a longer list. `next_token` is the token of the next part, '' at the end of the list."""

    entries: Sequence[T]
    next_token: str = ""


class Actor(msgspec.Struct, frozen=True):
    """Who acted: the caller of an RPC, and the person on whose behalf it acted, where one was given."""

    caller: str = ""
    """'' is the gateway itself, or a provider."""
    on_behalf_of: str = ""

    def __str__(self) -> str:
        name = self.caller or "the gateway"
        return f"{name} on behalf of {self.on_behalf_of}" if self.on_behalf_of else name


THE_GATEWAY = Actor()
"""What no caller asked for."""


# --- Journal ----------------------------------------------------------------------------------------------------------


@unique
class Direction(StrEnum):
    """OUTBOUND is a call of the gateway, INBOUND a provider's callback.

    The others are no exchanges. OPERATOR disabled or enabled the provider, CALLER credited the built-in ledger by RPC.
    """

    OUTBOUND = "OUTBOUND"
    INBOUND = "INBOUND"
    OPERATOR = "OPERATOR"
    CALLER = "CALLER"


class Message(msgspec.Struct, frozen=True):
    """One side of an exchange, already masked: `head` as 'Name: value' lines, `body` as it was sent."""

    head: str = ""
    body: bytes = b""


class Redelivery(msgspec.Struct, frozen=True):
    """An operator's redelivery of a callback: which line of the journal, and why."""

    exchange_id: str
    reason: str


class Exchange(msgspec.Struct, frozen=True):
    """One HTTP request and its answer with a provider: a line of the journal. Everything in it is masked already."""

    id: str
    direction: Direction
    provider: str
    operation: str
    """'close_session', a callback's path, 'switch_off' and 'switch_on', or 'apply_result' and 'open_account'."""
    started_at: datetime
    ended_at: datetime
    verdict: str
    """An outcome, a failure's reason, 'ACCEPTED', 'CREDITED', or a fault; 'SWITCHED_OFF' and 'SWITCHED_ON'."""
    method: str = ""
    path: str = ""
    request: Message = Message()
    request_id: str = ""
    attempt: int = 0
    status: int = 0
    """HTTP status; 0 where there was no response."""
    reply: Message = Message()
    certainty: Certainty | None = None
    """Of a failed call; None for a success and for callbacks."""
    detail: str = ""
    """For an operator: what went wrong, why the state was changed, or what was credited."""
    peer: str = ""
    """Inbound: the address that the callback came from. Of a state change: its caller."""
    attempt_uuid: str = ""
    redelivery: Redelivery | None = None
    trimmed: bool = False
    """Heads and bodies were removed by age."""
    actor: Actor = THE_GATEWAY
    """Who caused it."""


# --- Provider states --------------------------------------------------------------------------------------------------


@unique
class ProviderState(StrEnum):
    """Whether a provider may be called."""

    DISABLED = "OFF"
    ENABLED = "ON"


class ProviderStateChange(msgspec.Struct, frozen=True):
    """An operator disabled or enabled a provider: who, when and why."""

    id: str
    provider: str
    number: int
    """Among the provider's, from 1 on. A provider is enabled at first, so that odd ones disable it."""
    at: datetime
    actor: Actor
    reason: str

    @property
    def state(self) -> ProviderState:
        """The state after it."""
        return ProviderState.DISABLED if self.number % 2 else ProviderState.ENABLED

    def line(self) -> Exchange:
        """Its line in the journal."""
        return Exchange(
            id=self.id,
            direction=Direction.OPERATOR,
            provider=self.provider,
            operation=f"switch_{self.state.lower()}",
            started_at=self.at,
            ended_at=self.at,
            verdict=f"SWITCHED_{self.state}",
            detail=self.reason,
            peer=self.actor.caller,
            actor=self.actor,
        )


# --- Closures ---------------------------------------------------------------------------------------------------------


@unique
class ClosureKind(StrEnum):
    """The request that made a closure."""

    CLOSE_SESSION = "CLOSE_SESSION"


class Target(msgspec.Struct, frozen=True):
    """What a closure ends at one provider: the content of one request_id, without credentials."""

    provider: str
    user_id: str
    session_id: str = ""
    game_id: str = ""
    clear_history: bool = False
    reason: str = ""

    def first_difference(self, other: "Target") -> str:
        """The name of the first field in which the two differ, '' where they are the same."""
        return next((name for name in self.__struct_fields__ if getattr(self, name) != getattr(other, name)), "")


class CloseSuccess(msgspec.Struct, frozen=True):
    """A target's success: stored permanently, and returned again as it was."""

    outcome: Outcome
    answer: ProviderAnswer
    end_time: datetime


class CloseFailure(msgspec.Struct, frozen=True):
    """How the last attempt at a target failed, and when that was known."""

    reason: str
    certainty: Certainty
    detail: str
    end_time: datetime


class CloseRecord(msgspec.Struct, frozen=True):
    """A CloseSession as the store knows it."""

    request_id: str
    target: Target
    attempts: int
    """Attempts begun."""
    settled: CloseSuccess | None
    certainty: Certainty | None
    """Of all attempts so far together: UNKNOWN once one of them is, or was begun and never concluded."""
    actor: Actor = THE_GATEWAY
    """Who asked for it first."""


# --- Events -----------------------------------------------------------------------------------------------------------


@unique
class EventType(StrEnum):
    """Names as in the proto's EventType, without its prefix."""

    SESSION_EXPIRED = "SESSION_EXPIRED"
    SESSION_CLOSED = "SESSION_CLOSED"
    RESULT_CREDITED = "RESULT_CREDITED"
    RESULT_REFUSED = "RESULT_REFUSED"


class Event(msgspec.Struct, frozen=True):
    """A change of a session, a closure or a balance, for subscribers. The id is opaque."""

    id: str
    type: EventType
    time: datetime
    provider: str
    user_id: str = ""
    session_id: str = ""
    request_id: str = ""
    reference: str = ""


class EventFilter(msgspec.Struct, frozen=True):
    """Which events a subscriber wants; an empty part wants all."""

    user_id: str = ""
    provider: str = ""
    types: frozenset[EventType] = frozenset()

    def wants(self, event: Event) -> bool:
        """Whether the subscriber wants this one."""
        return (
            self.user_id in ("", event.user_id)
            and self.provider in ("", event.provider)
            and (not self.types or event.type in self.types)
        )


class EventBatch(msgspec.Struct, frozen=True):
    """The next wanted events, and the id after which to continue: everything up to there was scanned."""

    events: Sequence[Event]
    last_id: str
    more: bool
    """Whether there are more that were not scanned."""


# --- Ledger -----------------------------------------------------------------------------------------------------------


class Balance(msgspec.Struct, frozen=True):
    """What an account holds."""

    currency: str
    cash: Decimal


class AccountOpened(msgspec.Struct, frozen=True):
    """The result of OpenAccount: `cash` is the opening balance, however often it is called."""

    user_id: str
    currency: str
    cash: Decimal


class Posting(msgspec.Struct, frozen=True):
    """A Result as the ledger applies it, keyed by (provider, reference)."""

    provider: str
    reference: str
    user_id: str
    currency: str
    amount: Decimal
    round_id: str = ""
    game_id: str = ""
    session_id: str = ""
    promo_amount: Decimal | None = None
    promo_reference: str = ""


class Applied(msgspec.Struct, frozen=True):
    """A posting that is applied: `transaction_id` is that of its first application, `cash` the balance now."""

    transaction_id: str
    currency: str
    cash: Decimal
    replayed: bool
    bonus: Decimal | None = None
    """Bonus money in the account, where the wallet has any: the built-in ledger has none."""
    contradicting: str = ""
    """Another transaction that the operator's wallet returned for this reference later: it may have paid twice."""


@unique
class PostingFault(StrEnum):
    """Why the ledger refuses a posting, for as long as its cause lasts."""

    ACCOUNT_UNKNOWN = "ACCOUNT_UNKNOWN"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    REFERENCE_REUSED = "REFERENCE_REUSED"
    FIELD_INVALID = "FIELD_INVALID"
    """Only from an operator's wallet, for content that this gateway accepted as well-formed."""
    AMOUNT_ABOVE_LIMIT = "AMOUNT_ABOVE_LIMIT"
    """Above a ceiling that is configured for the provider."""


class AboveCeiling(msgspec.Struct, frozen=True):
    """The ceiling that a Result exceeds: its key in the configuration, and the amounts in the Result's currency."""

    key: str
    ceiling: Decimal
    amount: Decimal
    """Of the Result, with its promotional prize."""
    credited: Decimal | None = None
    """What was credited in the hour before; None for a ceiling of one Result."""


class PostingRefused(msgspec.Struct, frozen=True):
    """A posting that was refused and changed nothing. `field` names the field that differs or is invalid."""

    fault: PostingFault
    field: str
    above: AboveCeiling | None = None
    """The ceiling, where it is AMOUNT_ABOVE_LIMIT."""


@unique
class WalletKind(StrEnum):
    """The wallet that credited a transaction."""

    BUILTIN = "BUILTIN"
    OPERATORS = "OPERATORS"


@unique
class CreditKind(StrEnum):
    """What a transaction credits: a Result's amount, or its promotional prize, which has a separate reference."""

    RESULT = "RESULT"
    PROMO = "PROMO"


class Credit(msgspec.Struct, frozen=True):
    """One transaction, and the content that it credits. A prize's content has no prize."""

    kind: CreditKind
    transaction_id: str
    content: Posting
    created_at: datetime


class Discrepancy(msgspec.Struct, frozen=True):
    """A contradiction in the books: an account, transaction or event, a field, its value and the expected one."""

    subject: str
    field: str
    actual: str
    expected: str
