"""What the gateway must do, as dicts and plain rules: no SQL, no concurrency, no crashes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal, Inexact
from enum import StrEnum, unique

from tests.stress.ledger import Entry, Item, LedgerState, StoredEvent
from tests.stress.sending import Win

Account = tuple[str, str]
ItemKey = tuple[str, str, str, str]
"""(reference, user_id, fault, field)."""

EXACT = Context(prec=100, traps=[Inexact])
"""Python's own rounds sums to 28 digits."""

CONTENT = ("user_id", "currency", "amount", "round_id", "game_id", "promo_amount", "promo_reference")
"""What must be the same where a reference is; a difference is named in this order."""


@unique
class ResolvedBy(StrEnum):
    """What has resolved an item."""

    NOBODY = "NOBODY"
    GATEWAY = "GATEWAY"
    OPERATOR = "OPERATOR"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one callback: its kind, the field at fault, the balance."""

    word: str
    field: str = ""
    cash: Decimal | None = None


@dataclass
class Close:
    """A request to close: its content, and its outcome."""

    content: tuple[str, ...]
    settled: str = ""
    certainty: str = ""
    in_flight: bool = False


@dataclass
class Model:
    """The state that the ledger must show."""

    opening: dict[Account, Decimal] = field(default_factory=dict)
    cash: dict[Account, Decimal] = field(default_factory=dict)
    results: dict[str, Win] = field(default_factory=dict)
    prizes: dict[str, Win] = field(default_factory=dict)
    """By the prize's reference: the Result that brought it."""
    transactions: dict[str, str] = field(default_factory=dict)
    """By any reference: its transaction id, once it was answered or seen."""
    items: dict[ItemKey, ResolvedBy] = field(default_factory=dict)
    expired: set[tuple[str, str]] = field(default_factory=set)
    closes: dict[str, Close] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    """Ids of the events that were seen, in their order, which never changes."""
    events: "Counter[tuple[str, ...]]" = field(default_factory=Counter)
    """Events as (type, user, session, request, reference)."""

    # --- Rules --------------------------------------------------------------------------------------------------------

    def open_account(self, user_id: str, currency: str, opening: Decimal) -> str:
        """'opened', also when asked again, or the field that differs."""
        account = (user_id, currency)
        if self.opening.setdefault(account, opening) != opening:
            return "opening_balance"
        self.cash.setdefault(account, opening)
        return "opened"

    def deliver(self, sent: Win) -> Answer:
        """The reference first, then its prize's, then the account, then the currency."""
        if sent.reference in self.prizes:
            return self.refuse(sent, "REFERENCE_REUSED", "reference")
        if (known := self.results.get(sent.reference)) is not None:
            if differing := [name for name in CONTENT if getattr(known, name) != getattr(sent, name)]:
                return self.refuse(sent, "REFERENCE_REUSED", differing[0])
            return Answer("CREDITED", cash=self.cash[sent.user_id, sent.currency])
        if sent.promo_amount is not None and not self._prize_fits(sent):
            return self.refuse(sent, "REFERENCE_REUSED", "promo_reference")
        if (sent.user_id, sent.currency) not in self.cash:
            has_another = any(user == sent.user_id for user, _ in self.cash)
            fault, name = ("CURRENCY_MISMATCH", "currency") if has_another else ("ACCOUNT_UNKNOWN", "user_id")
            return self.refuse(sent, fault, name)
        return self._credit(sent)

    def refuse(self, sent: Win, fault: str, name: str) -> Answer:
        """An item for an operator, and an event if it is new. What an operator has resolved stays resolved."""
        key = (sent.reference, sent.user_id, fault, name)
        if self.items.get(key, ResolvedBy.GATEWAY) is ResolvedBy.GATEWAY:
            self.items[key] = ResolvedBy.NOBODY
            self.events["RESULT_REFUSED", sent.user_id, "", "", sent.reference] += 1
        return Answer(fault, name)

    def expire(self, user_id: str, session_id: str) -> Answer:
        """One event, however often it is reported."""
        if (user_id, session_id) not in self.expired:
            self.expired.add((user_id, session_id))
            self.events["SESSION_EXPIRED", user_id, session_id, "", ""] += 1
        return Answer("ACCEPTED")

    def close(self, request_id: str, user_id: str, reason: str, comes_to: str) -> str:
        """What a close is answered when the provider `comes_to` CLOSED, NO_ACTIVE_SESSION, REFUSED or UNKNOWN."""
        close = self.closes.setdefault(request_id, Close((user_id, reason)))
        if close.content != (user_id, reason):
            return "REQUEST_ID_REUSED"
        if close.settled:
            return close.settled
        if close.in_flight:
            close.certainty, close.in_flight = "UNKNOWN", False
        key = (request_id, user_id, "CLOSE_UNKNOWN", "")
        if comes_to == "UNKNOWN":
            close.certainty = "UNKNOWN"
            self._open(key)
        elif comes_to == "REFUSED":
            close.certainty = close.certainty or "REFUSED"
            if close.certainty != "UNKNOWN":
                self._resolve(key)
        else:
            close.settled = comes_to
            self._resolve(key)
            if comes_to == "CLOSED":
                self.events["SESSION_CLOSED", user_id, "", request_id, ""] += 1
        return close.settled or close.certainty

    def abandon(self, request_id: str, user_id: str, reason: str) -> None:
        """An attempt that a crash cuts off, and that the gateway reports when it is back."""
        close = self.closes.setdefault(request_id, Close((user_id, reason)))
        if close.content != (user_id, reason) or close.settled:
            return
        close.in_flight = True
        self._open((request_id, user_id, "CLOSE_UNKNOWN", ""))

    def resolve(self, key: ItemKey) -> None:
        """An operator has resolved an open item."""
        self.items[key] = ResolvedBy.OPERATOR

    def _prize_fits(self, sent: Win) -> bool:
        if sent.promo_reference == sent.reference or sent.promo_reference in self.results:
            return False
        known = self.prizes.get(sent.promo_reference)
        alike = ("user_id", "currency", "promo_amount", "round_id", "game_id")
        return known is None or all(getattr(known, name) == getattr(sent, name) for name in alike)

    def _credit(self, sent: Win) -> Answer:
        account = (sent.user_id, sent.currency)
        self.results[sent.reference] = sent
        self.cash[account] = EXACT.add(self.cash[account], sent.amount)
        if sent.promo_amount is not None and sent.promo_reference not in self.prizes:
            self.prizes[sent.promo_reference] = sent
            self.cash[account] = EXACT.add(self.cash[account], sent.promo_amount)
        self.events["RESULT_CREDITED", sent.user_id, "", "", sent.reference] += 1
        for key in self.items:
            if key[0] == sent.reference and key[1] == sent.user_id and key[2] != "CLOSE_UNKNOWN":
                self._resolve(key)
        return Answer("CREDITED", cash=self.cash[account])

    def _open(self, key: ItemKey) -> None:
        if self.items.get(key, ResolvedBy.GATEWAY) is ResolvedBy.GATEWAY:
            self.items[key] = ResolvedBy.NOBODY

    def _resolve(self, key: ItemKey) -> None:
        if self.items.get(key) is ResolvedBy.NOBODY:
            self.items[key] = ResolvedBy.GATEWAY

    # --- Against the ledger -------------------------------------------------------------------------------------------

    def differences(self, state: LedgerState) -> list[str]:
        """Where the ledger differs from the model. Transaction ids and event ids that are new are remembered."""
        found = [
            f"{name}: {kept} must be {expected}"
            for name, kept, expected in (
                ("opening", state.opening, self.opening),
                ("cash", state.cash, self.cash),
                ("transactions", dict(state.entries), self._entries(state)),
                ("credits of another wallet", state.wallet_credits, {}),
                ("items", sorted(map(str, state.items)), sorted(map(str, self._items()))),
                ("events", _kinds(state.events), self.events),
                ("order of events", [event.id for event in state.events[: len(self.seen)]], self.seen),
            )
            if kept != expected
        ]
        if not found:
            self.seen = [event.id for event in state.events]
            self.transactions = {reference: entry.transaction_id for reference, entry in state.entries.items()}
        return found

    def _entries(self, state: LedgerState) -> dict[str, Entry]:
        wins = {
            **{ref: ("RESULT", sent, sent.amount) for ref, sent in self.results.items()},
            **{ref: ("PROMO", sent, sent.promo_amount or Decimal(0)) for ref, sent in self.prizes.items()},
        }
        return {
            ref: Entry(kind, self._transaction_id(ref, state), sent.user_id, sent.currency, amount)
            for ref, (kind, sent, amount) in wins.items()
        }

    def _transaction_id(self, reference: str, state: LedgerState) -> str:
        kept = state.entries.get(reference)
        return self.transactions.get(reference, kept.transaction_id if kept else "")

    def _items(self) -> list[Item]:
        return [Item(*key, settled is ResolvedBy.NOBODY) for key, settled in self.items.items()]


def _kinds(events: Sequence[StoredEvent]) -> "Counter[tuple[str, ...]]":
    return Counter((event.type, event.user_id, event.session_id, event.request_id, event.reference) for event in events)


def changed(sent: Win, name: str, other: Win) -> Win:
    """The Result with one part of another's content; a prize is one part."""
    if name.startswith("promo"):
        return replace(sent, promo_amount=other.promo_amount, promo_reference=other.promo_reference)
    return replace(sent, **{name: getattr(other, name)})
