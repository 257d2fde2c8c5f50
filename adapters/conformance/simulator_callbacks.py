"""Checks: what the simulated provider tells is what our decoder understands, and what we answer is what it hears."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from string import ascii_letters, digits
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from adapters.conformance import wire
from adapters.conformance.case import ConformanceFailure, Subject, examples
from adapters.conformance.goldens import received
from adapters.conformance.responses import CREDITED, amounts
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
class Told:
    """A delivery, the state that it comes out of, and the callback that it is for."""

    account: Account[Any]
    state: Any
    delivery: Delivery
    path: str
    callback: Callback[Any, Notification]


def told(subject: Subject, happening: SimulatedEvent, session: PlayerSession = SESSION) -> tuple[Told, ...]:
    """What the simulated provider tells of this happening; nothing where its dialect cannot."""
    account = subject.account
    if account is None:
        return ()
    state = subject.simulator.start(account, (session, BYSTANDER))
    try:
        state = subject.simulator.happen(state, happening, ATTEMPT)
    except NotInThisDialect:
        return ()
    return tuple(
        Told(account, state, delivery, *_callback_of(subject, delivery.request))
        for delivery in subject.simulator.pending(state)
    )


def _callback_of(subject: Subject, request: HttpRequest) -> tuple[str, Callback[Any, Notification]]:
    for path, callback in subject.adapter.callbacks.items():
        if (request.method, request.path.lower()) == (callback.method, f"/{path.lower()}"):
            return path, callback
    raise subject.failure(
        f"the simulated provider sends {request.method} {request.path}, which no callback serves",
        mend="Let the simulator send to the path and with the method of a callback.",
    )


def simulator_callbacks_are_understood(subject: Subject) -> None:
    """What the simulated provider tells is what happened, to the last digit; and it can tell what has a callback."""
    served = {callback.notification for callback in subject.adapter.callbacks.values()}
    happenings: tuple[tuple[type[Notification], SimulatedEvent], ...] = (
        (SessionExpired, Expire(SESSION.session_id)),
        (Result, WIN),
    )
    for notification, happening in happenings if subject.account else ():
        if len(told(subject, happening)) != (notification in served):
            raise subject.failure(
                f"{type(happening).__name__} is not told exactly where a callback has a {notification.__name__}",
                mend="Let `happen` queue one delivery where there is a callback, else raise NotInThisDialect.",
            )
    for one in told(subject, Expire(SESSION.session_id)):
        got = _heard(subject, one)
        if not (isinstance(got, SessionExpired) and (got.session_id, got.user_id) == _EXPIRED):
            raise _misunderstood(subject, one, _EXPIRED, got)

    @examples
    @given(amount=amounts, prize=st.none() | amounts.filter(bool))
    def holds(amount: Decimal, prize: Decimal | None) -> None:
        win = replace(WIN, amount=amount, promo=None if prize is None else PromoPrize(prize, "prize7"))
        for one in told(subject, win):
            got = _heard(subject, one)
            if not (isinstance(got, Result) and _matches(got, win, SESSION)):
                raise _misunderstood(subject, one, win, got)

    holds()


_EXPIRED = (SESSION.session_id, SESSION.user_id)


def _heard(subject: Subject, one: Told) -> Notification:
    """What our decoder makes of a delivery, which must have all that the document requires."""
    request = one.delivery.request
    required = subject.simulator.required.get(one.path, frozenset())
    missing = [name for name in sorted(required) if name.lower() not in wire.names_of(request)]
    if missing and wire.parsed(request.body) is not None:
        raise subject.failure(
            f"the simulated {one.path} lacks {missing}, which the document requires", mend="Let the simulator send it."
        )
    return received(one.callback, one.account, request)


def _matches(result: Result, win: Win, session: PlayerSession) -> bool:
    return (
        (result.reference, result.user_id, result.game_id) == (win.reference, session.user_id, session.game_id)
        and (result.currency, result.amount, result.round_id) == (win.currency, win.amount, win.round_id)
        and result.session_id in {"", session.session_id}
        and result.promo == win.promo
    )


def _misunderstood(subject: Subject, one: Told, expected: object, got: Notification) -> ConformanceFailure:
    return subject.failure(
        f"what the simulated provider tells at {one.path} is not what happened",
        expected=expected,
        got=got,
        mend="Look into the document which of decoder and simulator is wrong.",
    )


TIDY_BAIT = ("AbC-01", "abc-01", "007", "7", " x ", "x ", "Ref" * 85, "Ref" * 84 + "reF")
names = st.sampled_from(TIDY_BAIT) | st.text(ascii_letters + digits, min_size=25, max_size=255)
"""Ids of any length, in both cases, of which someone who tidies them makes other ids."""


def what_is_told_is_not_tidied(subject: Subject) -> None:
    """An id in a callback arrives with its case, its space and all its characters, or the callback is refused."""

    @settings(examples, phases=(Phase.generate,))  # to shrink six ids takes a second and tells no more
    @given(drawn=st.lists(names, min_size=6, max_size=6, unique=True))
    def holds(drawn: list[str]) -> None:
        session_id, user_id, game_id, round_id, reference, prize = drawn
        session = PlayerSession(session_id, user_id, game_id)
        win = Win(session_id, round_id, reference, "EUR", Decimal("10.50"))
        happenings = (Expire(session_id), win, replace(win, promo=PromoPrize(Decimal(3), prize)))
        for happening in happenings:
            for one in told(subject, happening, session):
                _judge_untidied(subject, one, happening, session)

    holds()


def _judge_untidied(subject: Subject, one: Told, happening: SimulatedEvent, session: PlayerSession) -> None:
    try:
        got = _heard(subject, one)
    except CallbackRefused:
        return
    match got, happening:
        case SessionExpired(), Expire():
            same = (got.session_id, got.user_id) == (session.session_id, session.user_id)
        case Result(), Win():
            same = _matches(got, happening, session)
        case _:
            same = False
    if not same:
        raise _misunderstood(subject, one, (happening, session), got)


def simulator_hears_our_answers(subject: Subject) -> None:
    """What we accept is settled; what we ask to send again, and what we do not answer, is kept."""
    for one in (*told(subject, Expire(SESSION.session_id)), *told(subject, WIN)):
        accepted: CallbackAnswer = CREDITED if one.callback.notification is Result else Accepted()
        for answer, kept in ((accepted, False), (Rejected(CallbackFault.TRY_AGAIN), True), (None, True)):
            reply = None if answer is None else one.callback.encode_reply(one.account, answer)
            after = subject.simulator.on_reply(one.state, one.delivery, reply)
            if (one.delivery.id in {left.id for left in subject.simulator.pending(after)}) != kept:
                raise subject.failure(
                    f"the simulated provider {'settles' if kept else 'keeps'} what was answered with {answer}",
                    got=reply,
                    mend="Look into the document which of encode_reply and `heard` is wrong.",
                )


CHECKS = (
    simulator_callbacks_are_understood,
    what_is_told_is_not_tidied,
    simulator_hears_our_answers,
)
