"""Checks: our `decode` reads the simulator's callbacks, and the simulator follows our replies to them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from string import ascii_letters, digits
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from adapters.conformance import wire
from adapters.conformance.callbacks import CREDITED, amounts
from adapters.conformance.case import Case, examples
from adapters.conformance.goldens import verify_and_decode
from adapters.contract import (
    Accepted,
    Account,
    Attempt,
    Callback,
    CallbackAnswer,
    CallbackFault,
    CallbackRefused,
    HttpRequest,
    Notification,
    PromoPrize,
    Rejected,
    Result,
    SessionExpired,
)
from adapters.simulation import Delivery, Expire, NotInThisDialect, PlayerSession, SimulatedEvent, Win

ATTEMPT = Attempt(1, "0123456789abcdef0123456789abcdef", datetime(2026, 1, 1, tzinfo=UTC))
SESSION = PlayerSession("5e55104a7e57", "tester", "game7")
BYSTANDER = PlayerSession("5e55104a7e58", "bystander", "game7")
WIN = Win(SESSION.session_id, "round7", "reference7", "EUR", Decimal("12345678901234.123456789012345678"))


@dataclass(frozen=True, slots=True)
class SimulatedCallback:
    """A delivery of the simulator, the state that it is pending in, and our callback for its path."""

    account: Account[Any]
    state: Any
    delivery: Delivery
    path: str
    callback: Callback[Any, Notification]


def simulated_callbacks(
    case: Case, event: SimulatedEvent, session: PlayerSession = SESSION
) -> tuple[SimulatedCallback, ...]:
    """The callbacks that the simulator sends for this event; none where the dialect has no callback for it."""
    account = case.account
    if account is None:
        return ()
    state = case.simulator.start(account, (session, BYSTANDER))
    try:
        state = case.simulator.emit(state, event, ATTEMPT)
    except NotInThisDialect:
        return ()
    return tuple(
        SimulatedCallback(account, state, delivery, *_callback_of(case, delivery.request))
        for delivery in case.simulator.pending(state)
    )


def _callback_of(case: Case, request: HttpRequest) -> tuple[str, Callback[Any, Notification]]:
    for path, callback in case.adapter.callbacks.items():
        if (request.method, request.path.lower()) == (callback.method, f"/{path.lower()}"):
            return path, callback
    raise case.failure(
        f"the simulated provider sends {request.method} {request.path}, which no callback serves",
        fix="Send to the path and with the method of a callback.",
    )


def simulator_callbacks_are_decoded(case: Case) -> None:
    """Each simulated event that has a callback is sent, and `decode` gives it back with every digit."""
    served = {callback.notification for callback in case.adapter.callbacks.values()}
    expire = Expire(SESSION.session_id)
    for notification, event in ((SessionExpired, expire), (Result, WIN)) if case.account else ():
        if len(simulated_callbacks(case, event)) != (notification in served):
            raise case.failure(
                f"{type(event).__name__} is not sent exactly where a callback has a {notification.__name__}",
                fix="Queue one delivery in `emit` where there is a callback, else raise NotInThisDialect.",
            )
    _check_decoded(case, expire, SESSION)

    @examples
    @given(amount=amounts, prize=st.none() | amounts.filter(bool))
    def holds(amount: Decimal, prize: Decimal | None) -> None:
        promo = None if prize is None else PromoPrize(prize, "prize7")
        _check_decoded(case, replace(WIN, amount=amount, promo=promo), SESSION)

    holds()


def _check_decoded(case: Case, event: SimulatedEvent, session: PlayerSession, *, may_refuse: bool = False) -> None:
    """Raises a failure unless the callbacks of this event are decoded as the event, or refused where they may be."""
    for simulated in simulated_callbacks(case, event, session):
        try:
            got = _decode(case, simulated)
        except CallbackRefused:
            if may_refuse:
                continue
            raise
        if not _is_event(got, event, session):
            raise case.failure(
                f"the simulated callback {simulated.path} is not decoded as the event",
                expected=(event, session),
                got=got,
                fix="Compare decode and the simulator with the document, and correct the wrong one.",
            )


def _decode(case: Case, simulated: SimulatedCallback) -> Notification:
    """The decoded delivery, which must have every field that the document requires. Raises CallbackRefused."""
    request = simulated.delivery.request
    required = case.simulator.required.get(simulated.path, frozenset())
    missing = [name for name in sorted(required) if name.lower() not in wire.names_of(request)]
    if missing and wire.parsed(request.body) is not None:
        raise case.failure(
            f"the simulated {simulated.path} lacks {missing}, which the document requires",
            fix="Send it in the simulator.",
        )
    return verify_and_decode(simulated.callback, simulated.account, request)


def _is_event(got: Notification, event: SimulatedEvent, session: PlayerSession) -> bool:
    match got, event:
        case SessionExpired(), Expire():
            return (got.session_id, got.user_id) == (session.session_id, session.user_id)
        case Result(), Win():
            return (
                (got.reference, got.user_id, got.game_id) == (event.reference, session.user_id, session.game_id)
                and (got.currency, got.amount, got.round_id) == (event.currency, event.amount, event.round_id)
                and got.session_id in {"", session.session_id}
                and got.promo == event.promo
            )
    return False


SIMILAR_IDS = ("AbC-01", "abc-01", "007", "7", " x ", "x ", "Ref" * 85, "Ref" * 84 + "reF")
names = st.sampled_from(SIMILAR_IDS) | st.text(ascii_letters + digits, min_size=25, max_size=255)
"""Ids of any length and in both cases, which a normalizing decoder changes."""


def callback_ids_are_unchanged(case: Case) -> None:
    """An id in a callback is decoded with its case, its space and all its characters, or the callback is refused."""

    @settings(examples, phases=(Phase.generate,))  # shrinking six ids takes a second and shows no more
    @given(drawn=st.lists(names, min_size=6, max_size=6, unique=True))
    def holds(drawn: list[str]) -> None:
        session_id, user_id, game_id, round_id, reference, prize = drawn
        session = PlayerSession(session_id, user_id, game_id)
        win = Win(session_id, round_id, reference, "EUR", Decimal("10.50"))
        for event in (Expire(session_id), win, replace(win, promo=PromoPrize(Decimal(3), prize))):
            _check_decoded(case, event, session, may_refuse=True)

    holds()


def simulator_follows_our_replies(case: Case) -> None:
    """A delivery that we accept is settled; one that we ask to send again, or do not answer, stays pending."""
    for event in (Expire(SESSION.session_id), WIN):
        for simulated in simulated_callbacks(case, event):
            accepted: CallbackAnswer = CREDITED if simulated.callback.notification is Result else Accepted()
            for answer, kept in ((accepted, False), (Rejected(CallbackFault.TRY_AGAIN), True), (None, True)):
                reply = None if answer is None else simulated.callback.encode_reply(simulated.account, answer)
                after = case.simulator.on_reply(simulated.state, simulated.delivery, reply)
                if (simulated.delivery.id in {left.id for left in case.simulator.pending(after)}) != kept:
                    raise case.failure(
                        f"the simulated provider {'settles' if kept else 'keeps'} what was answered with {answer}",
                        got=reply,
                        fix="Compare encode_reply and `on_reply` with the document, and correct the wrong one.",
                    )


CHECKS = (
    simulator_callbacks_are_decoded,
    callback_ids_are_unchanged,
    simulator_follows_our_replies,
)
