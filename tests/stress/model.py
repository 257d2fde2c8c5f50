"""What the gateway must do, as dicts and the rules written down once more: no SQL, no concurrency, no crashes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal, Inexact
from enum import StrEnum, unique

from tests.stress.books import Books, Entry, Item, KeptEvent
from tests.stress.sending import Win

Account = tuple[str, str]
ItemKey = tuple[str, str, str, str]
"""(reference, user_id, fault, field)."""

EXACT = Context(prec=100, traps=[Inexact])
"""Python's own rounds sums to 28 digits."""

CONTENT = ("user_id", "currency", "amount", "round_id", "game_id", "promo_amount", "promo_reference")
"""What must be the same where a reference is; a difference is named in this order."""


@unique
class Settled(StrEnum):
    """Who has settled an item."""

    NOBODY = "NOBODY"
    GATEWAY = "GATEWAY"
    PERSON = "PERSON"


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of one callback: the word for it, the field at fault, the balance."""

    word: str
    field: str = ""
    cash: Decimal | None = None


@dataclass
class Close:
    """A request to close: what it stands for, and what became of it."""

    content: tuple[str, ...]
    settled: str = ""
    certainty: str = ""
    under_way: bool = False


@dataclass
class Model:
    """The state that the books must show."""

    opening: dict[Account, Decimal] = field(default_factory=dict)
    cash: dict[Account, Decimal] = field(default_factory=dict)
    results: dict[str, Win] = field(default_factory=dict)
    prizes: dict[str, Win] = field(default_factory=dict)
    """By the prize's reference: the Result that brought it."""
    transactions: dict[str, str] = field(default_factory=dict)
    """By any reference: its transaction id, once it was told or seen."""
    items: dict[ItemKey, Settled] = field(default_factory=dict)
    expired: set[tuple[str, str]] = field(default_factory=set)
    closes: dict[str, Close] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    """Ids of the events that were seen, in their order: it is for good."""
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

    def deliver(self, sent: Win) -> Said:
        """The reference first, then its prize's, then the account, then the currency."""
        if sent.reference in self.prizes:
            return self.refuse(sent, "REFERENCE_REUSED", "reference")
        if (known := self.results.get(sent.reference)) is not None:
            if differing := [name for name in CONTENT if getattr(known, name) != getattr(sent, name)]:
                return self.refuse(sent, "REFERENCE_REUSED", differing[0])
            return Said("CREDITED", cash=self.cash[sent.user_id, sent.currency])
        if sent.promo_amount is not None and not self._prize_fits(sent):
            return self.refuse(sent, "REFERENCE_REUSED", "promo_reference")
        if (sent.user_id, sent.currency) not in self.cash:
            has_another = any(user == sent.user_id for user, _ in self.cash)
            fault, name = ("CURRENCY_MISMATCH", "currency") if has_another else ("ACCOUNT_UNKNOWN", "user_id")
            return self.refuse(sent, fault, name)
        return self._credit(sent)

    def refuse(self, sent: Win, fault: str, name: str) -> Said:
        """An item for a person, and an event where it is a new one; what a person has settled stays so."""
        key = (sent.reference, sent.user_id, fault, name)
        if self.items.get(key, Settled.GATEWAY) is Settled.GATEWAY:
            self.items[key] = Settled.NOBODY
            self.events["RESULT_REFUSED", sent.user_id, "", "", sent.reference] += 1
        return Said(fault, name)

    def expire(self, user_id: str, session_id: str) -> Said:
        """One event, however often it is told."""
        if (user_id, session_id) not in self.expired:
            self.expired.add((user_id, session_id))
            self.events["SESSION_EXPIRED", user_id, session_id, "", ""] += 1
        return Said("ACCEPTED")

    def close(self, request_id: str, user_id: str, reason: str, comes_to: str) -> str:
        """What a close is answered when the provider `comes_to` CLOSED, NO_ACTIVE_SESSION, REFUSED or UNKNOWN."""
        close = self.closes.setdefault(request_id, Close((user_id, reason)))
        if close.content != (user_id, reason):
            return "REQUEST_ID_REUSED"
        if close.settled:
            return close.settled
        if close.under_way:
            close.certainty, close.under_way = "UNKNOWN", False
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
        close.under_way = True
        self._open((request_id, user_id, "CLOSE_UNKNOWN", ""))

    def settle(self, key: ItemKey) -> None:
        """A person has looked at an open item."""
        self.items[key] = Settled.PERSON

    def _prize_fits(self, sent: Win) -> bool:
        if sent.promo_reference == sent.reference or sent.promo_reference in self.results:
            return False
        known = self.prizes.get(sent.promo_reference)
        alike = ("user_id", "currency", "promo_amount", "round_id", "game_id")
        return known is None or all(getattr(known, name) == getattr(sent, name) for name in alike)

    def _credit(self, sent: Win) -> Said:
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
        return Said("CREDITED", cash=self.cash[account])

    def _open(self, key: ItemKey) -> None:
        if self.items.get(key, Settled.GATEWAY) is Settled.GATEWAY:
            self.items[key] = Settled.NOBODY

    def _resolve(self, key: ItemKey) -> None:
        if self.items.get(key) is Settled.NOBODY:
            self.items[key] = Settled.GATEWAY

    # --- Against the books --------------------------------------------------------------------------------------------

    def differences(self, books: Books) -> list[str]:
        """Where the books are not as they must be. Transaction ids and event ids that are new are remembered."""
        found = [
            f"{name}: {kept} must be {expected}"
            for name, kept, expected in (
                ("opening", books.opening, self.opening),
                ("cash", books.cash, self.cash),
                ("transactions", dict(books.entries), self._entries(books)),
                ("credits of another wallet", books.wallet_credits, {}),
                ("items", sorted(map(str, books.items)), sorted(map(str, self._items()))),
                ("events", _kinds(books.events), self.events),
                ("order of events", [event.id for event in books.events[: len(self.seen)]], self.seen),
            )
            if kept != expected
        ]
        if not found:
            self.seen = [event.id for event in books.events]
            self.transactions = {reference: entry.transaction_id for reference, entry in books.entries.items()}
        return found

    def _entries(self, books: Books) -> dict[str, Entry]:
        wins = {
            **{ref: ("RESULT", sent, sent.amount) for ref, sent in self.results.items()},
            **{ref: ("PROMO", sent, sent.promo_amount or Decimal(0)) for ref, sent in self.prizes.items()},
        }
        return {
            ref: Entry(kind, self._transaction_id(ref, books), sent.user_id, sent.currency, amount)
            for ref, (kind, sent, amount) in wins.items()
        }

    def _transaction_id(self, reference: str, books: Books) -> str:
        kept = books.entries.get(reference)
        return self.transactions.get(reference, kept.transaction_id if kept else "")

    def _items(self) -> list[Item]:
        return [Item(*key, settled is Settled.NOBODY) for key, settled in self.items.items()]


def _kinds(events: Sequence[KeptEvent]) -> "Counter[tuple[str, ...]]":
    return Counter((event.type, event.user_id, event.session_id, event.request_id, event.reference) for event in events)


def changed(sent: Win, name: str, other: Win) -> Win:
    """The Result with one part of another's content; a prize is one part."""
    if name.startswith("promo"):
        return replace(sent, promo_amount=other.promo_amount, promo_reference=other.promo_reference)
    return replace(sent, **{name: getattr(other, name)})
