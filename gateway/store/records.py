"""What the store keeps, as typed values. Times are aware and UTC, money is an exact Decimal, '' means 'not given'."""

from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from enum import StrEnum, unique

from adapters.contract import Certainty, Outcome, ProviderAnswer

# --- Journal ----------------------------------------------------------------------------------------------------------


@unique
class Direction(StrEnum):
    """Who asked: OUTBOUND is the gateway asking a provider, INBOUND a provider's callback."""

    OUTBOUND = "OUTBOUND"
    INBOUND = "INBOUND"


@dataclass(frozen=True, slots=True)
class Message:
    """One side of an exchange, already masked: `head` as 'Name: value' lines, `body` as it travelled."""

    head: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request and its answer with a provider: a line of the journal. Everything in it is masked already."""

    id: str
    direction: Direction
    provider: str
    operation: str
    """'close_session', or a callback's path."""
    method: str
    path: str
    request: Message
    started_at: datetime
    ended_at: datetime
    verdict: str
    """What it came to: an outcome, a failure's reason, 'ACCEPTED', 'CREDITED', or the fault told to the provider."""
    request_id: str = ""
    attempt: int = 0
    status: int = 0
    """HTTP status; 0 where no answer came."""
    reply: Message = Message()
    certainty: Certainty | None = None
    """Of a failed call; None for a success and for callbacks."""
    detail: str = ""
    """For a person: what went wrong."""
    peer: str = ""
    """Inbound: the address that the callback came from."""
    attempt_uuid: str = ""


# --- Closures ---------------------------------------------------------------------------------------------------------


@unique
class ClosureKind(StrEnum):
    """How a closure came to be."""

    CLOSE_SESSION = "CLOSE_SESSION"


@dataclass(frozen=True, slots=True)
class Target:
    """What a closure is to end at one provider: the content that one request_id stands for, credentials left out."""

    provider: str
    user_id: str
    session_id: str = ""
    game_id: str = ""
    clear_history: bool = False
    reason: str = ""

    def first_difference(self, other: "Target") -> str:
        """The name of the first field in which the two differ, '' where they are the same."""
        return next((name.name for name in fields(self) if getattr(self, name.name) != getattr(other, name.name)), "")


@dataclass(frozen=True, slots=True)
class Settled:
    """A target's success: kept for good, and answered again as it was."""

    outcome: Outcome
    answer: ProviderAnswer
    end_time: datetime


@dataclass(frozen=True, slots=True)
class Failed:
    """How the last attempt at a target failed."""

    reason: str
    certainty: Certainty
    detail: str


@dataclass(frozen=True, slots=True)
class CloseRecord:
    """A CloseSession as the store knows it."""

    request_id: str
    target: Target
    attempts: int
    """Attempts begun."""
    settled: Settled | None
    certainty: Certainty | None
    """Of all attempts so far together: UNKNOWN once one of them is, or was begun and never concluded."""


# --- Events -----------------------------------------------------------------------------------------------------------


@unique
class EventType(StrEnum):
    """Names as in the proto's EventType, without its prefix."""

    SESSION_EXPIRED = "SESSION_EXPIRED"
    SESSION_CLOSED = "SESSION_CLOSED"
    RESULT_CREDITED = "RESULT_CREDITED"
    RESULT_REFUSED = "RESULT_REFUSED"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a session, a closure or a balance, for subscribers. The id is opaque."""

    id: str
    type: EventType
    time: datetime
    provider: str
    user_id: str = ""
    session_id: str = ""
    request_id: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a subscriber wants; an empty part wants all."""

    user_id: str = ""
    provider: str = ""
    types: frozenset[EventType] = frozenset()


# --- Ledger -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds."""

    currency: str
    cash: Decimal


@dataclass(frozen=True, slots=True)
class AccountOpened:
    """The answer to OpenAccount: `cash` is the opening balance, however often it is asked."""

    user_id: str
    currency: str
    cash: Decimal


@dataclass(frozen=True, slots=True)
class Posting:
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


@dataclass(frozen=True, slots=True)
class Applied:
    """A posting that stands: `transaction_id` is that of its first application, `cash` the balance now."""

    transaction_id: str
    currency: str
    cash: Decimal
    replayed: bool


@unique
class PostingFault(StrEnum):
    """Why the ledger refuses a posting, for as long as its cause lasts."""

    ACCOUNT_UNKNOWN = "ACCOUNT_UNKNOWN"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    REFERENCE_REUSED = "REFERENCE_REUSED"


@dataclass(frozen=True, slots=True)
class PostingRefused:
    """A posting that was refused and changed nothing. `field` names the field that differs or does not fit."""

    fault: PostingFault
    field: str


# --- Reconciliation ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReconciliationItem:
    """A Result refused for good, for a person to look at. One item per (provider, reference, user_id, fault, field)."""

    id: str
    provider: str
    reference: str
    fault: str
    field: str
    detail: str
    user_id: str
    created_at: datetime
    exchange_id: str
    """The journal's line that holds the callback."""
