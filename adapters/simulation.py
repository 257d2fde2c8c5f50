"""The contract of a simulator: the provider's side of a dialect, as pure functions over a state.

A simulator is written from the provider's document, never from our encoder, and enforces everything that the document
requires of us. The gateway hosts it for the demo, for tests and for staging, and adds the sockets, the clock and the
faults below HTTP (hang, reset, garbage).
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from adapters.contract import Account, Attempt, HttpReply, HttpRequest, PromoPrize

StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class PlayerSession:
    """A session that is open at the simulated provider."""

    session_id: str
    user_id: str
    game_id: str


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of a simulated provider: all that it ever opened by id, and the ids of those that are open."""

    known: Mapping[str, PlayerSession]
    open_ids: frozenset[str]

    @classmethod
    def of(cls, sessions: tuple[PlayerSession, ...]) -> "Sessions":
        known = {session.session_id: session for session in sessions}
        return cls(MappingProxyType(known), frozenset(known))

    def opened(self, session: PlayerSession) -> "Sessions":
        known = MappingProxyType({**self.known, session.session_id: session})
        return Sessions(known, self.open_ids | {session.session_id})

    def closed(self, session_ids: Set[str]) -> "Sessions":
        return Sessions(self.known, self.open_ids - session_ids)

    @property
    def open(self) -> tuple[PlayerSession, ...]:
        return tuple(session for session in self.known.values() if session.session_id in self.open_ids)


@dataclass(frozen=True, slots=True)
class Expire:
    """An event at the provider: a session ends by itself, and the provider sends a callback."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Win:
    """An event at the provider: a round is won (or closed automatically), and the provider sends a callback."""

    session_id: str
    round_id: str
    reference: str
    currency: str
    amount: Decimal
    promo: PromoPrize | None = None


SimulatedEvent = Expire | Win


@dataclass(frozen=True, slots=True)
class Delivery:
    """A callback that is still to be delivered. `request.path` is relative to our callback URL."""

    id: int
    request: HttpRequest
    tries: int = 0


class NotInThisDialect(Exception):
    """The dialect has no callback for this event."""


@dataclass(frozen=True, slots=True)
class Simulator(Generic[StateT]):
    """The provider's side of one dialect. Every function is pure and returns the next state.

    `start(account, sessions)` is the state of a provider with this account and these open sessions.
    `open_session(state, session)` opens a session; one that was closed is open again.
    `answer(state, request)` is the provider's HTTP endpoint.
    `fail_with(state, code)` makes it answer every well-formed request with this code of the dialect; '' resets it.
    `emit(state, event, attempt)` queues the callback of an event. Raises NotInThisDialect, and KeyError for an unknown
    session.
    `pending(state)` is what is still to be delivered, oldest first.
    `on_reply(state, delivery, reply)` records our reply to one delivery (None: there was none). By the document's rules
    of retransmission this settles the delivery or keeps it for another try.
    """

    start: Callable[[Account[Any], tuple[PlayerSession, ...]], StateT]
    open_session: Callable[[StateT, PlayerSession], StateT]
    answer: Callable[[StateT, HttpRequest], tuple[StateT, HttpReply]]
    fail_with: Callable[[StateT, str], StateT]
    emit: Callable[[StateT, SimulatedEvent, Attempt], StateT]
    pending: Callable[[StateT], tuple[Delivery, ...]]
    on_reply: Callable[[StateT, Delivery, HttpReply | None], StateT]
    open_sessions: Callable[[StateT], tuple[PlayerSession, ...]]
    required: Mapping[str, frozenset[str]]
    """By operation ('close_session', or a callback's path): the parameters that the document marks Required."""
    optional: Mapping[str, frozenset[str]]
    """By operation: the parameters that the document marks optional."""
