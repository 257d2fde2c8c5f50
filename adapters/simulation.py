"""The contract of a simulator: a provider's side of its dialect, as pure functions over a state.

A simulator is written from the provider's document, never from our encoder, and is strict about everything that the
document requires of us. The gateway hosts it for the demo, for tests and for a team's staging; it adds the sockets,
the clock, and the faults below HTTP (hang, reset, garbage).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
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
class Expire:
    """Happens at the provider: a session ends by itself, and the provider will tell us."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Win:
    """Happens at the provider: a round is won (or closed automatically), and the provider will tell us."""

    session_id: str
    round_id: str
    reference: str
    currency: str
    amount: Decimal
    promo: PromoPrize | None = None


SimulatedEvent = Expire | Win


@dataclass(frozen=True, slots=True)
class Delivery:
    """A callback that the simulated provider still has to deliver. `request.path` is relative to our callback URL."""

    id: int
    request: HttpRequest
    tries: int = 0


class NotInThisDialect(Exception):
    """The dialect has no callback that could tell this."""


@dataclass(frozen=True, slots=True)
class Simulator(Generic[StateT]):
    """The provider's side of one dialect. Every function is pure and returns the next state.

    `start(account, sessions)` is a provider that knows this account and these open sessions.
    `open_session(state, session)` is a player who begins to play; a session known before is open again.
    `answer(state, request)` is the provider's HTTP endpoint.
    `fail_with(state, code)` makes it answer every well-formed request with this code of its own, '' to stop.
    `emit(state, event, attempt)` queues what it has to tell; raises NotInThisDialect, and KeyError for a session
    that it does not know.
    `due(state)` is what is still to be delivered, oldest first.
    `heard(state, delivery, reply)` takes our answer to one delivery (None: there was none) and settles it or keeps it
    for another try, by the document's rules of retransmission.
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
