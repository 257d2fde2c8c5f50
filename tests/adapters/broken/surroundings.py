"""Broken goldens and simulators of the correct example adapter."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from adapters.contract import Account, Attempt, HttpReply, HttpRequest
from adapters.simulation import Delivery, NotInThisDialect, PlayerSession, SimulatedEvent
from tests.adapters.broken import GOOD, Broken, with_golden, with_simulator, without_goldens
from tests.adapters.example import seal, simulator

_WITHOUT_GAME = tuple(golden.name for _, golden in GOOD.sent if not golden.call.game_id)
_PAID = tuple(name for name in GOOD.golden_files if name.startswith("paid"))


def _without_source(text: str) -> str:
    return text.replace(text.splitlines()[0], 'source = ""')


def _printed_otherwise(text: str) -> str:
    return text.replace("[reply]", "printed = 'player=somebody'\n[reply]")


def _accepts_any_desk(state: simulator.State, request: HttpRequest) -> tuple[simulator.State, HttpReply]:
    return simulator.answer(state, replace(request, headers=(*request.headers, ("X-Desk", state.token))))


def _never_fails(state: simulator.State, code: str) -> simulator.State:
    return state


@dataclass
class _MutableState:
    """A state that changes in place."""

    inner: simulator.State


def _start_mutable(account: Account[Any], sessions: tuple[PlayerSession, ...]) -> _MutableState:
    return _MutableState(simulator.start(account, sessions))


def _answer_mutable(state: _MutableState, request: HttpRequest) -> tuple[_MutableState, HttpReply]:
    state.inner, reply = simulator.answer(state.inner, request)
    return state, reply


def _open_mutable(state: _MutableState) -> tuple[PlayerSession, ...]:
    return state.inner.seats


def _pending_mutable(state: _MutableState) -> tuple[Delivery, ...]:
    return state.inner.queue


_COUNT = count()


def _emits_otherwise(path: str = "", *, counting: bool = False) -> Callable[..., simulator.State]:
    """An `emit` that sends to another path, or another body each time."""

    def emit(state: simulator.State, event: SimulatedEvent, attempt: Attempt) -> simulator.State:
        after = simulator.emit(state, event, attempt)
        delivery = after.queue[-1]
        more = f"&n={next(_COUNT)}".encode() if counting else b""
        sealed = ("X-Seal", seal(state.token, delivery.request.body + more))
        request = replace(delivery.request, body=delivery.request.body + more, headers=(sealed,))
        changed = replace(delivery, request=replace(request, path=path or request.path))
        return replace(after, queue=(*after.queue[:-1], changed))

    return emit


def _emits_nothing(state: simulator.State, event: SimulatedEvent, attempt: Attempt) -> simulator.State:
    raise NotInThisDialect("the Parlour has no callbacks")


def _requires_a_game(state: simulator.State, request: HttpRequest) -> tuple[simulator.State, HttpReply]:
    return simulator.answer(state, request if b"game=" in request.body else replace(request, body=b""))


BROKEN = (
    Broken("has_no_golden", without_goldens(GOOD, *_PAID), "every_operation_has_goldens", "a success of paid"),
    Broken("has_no_source", with_golden("closed.toml", _without_source), "goldens_are_readable", "$.source"),
    Broken(
        "is_printed_otherwise",
        with_golden("closed.toml", _printed_otherwise),
        "printed_bodies_are_equivalent",
        "printed body",
    ),
    Broken(
        "accepts_any_desk",
        with_simulator(answer=_accepts_any_desk),
        "simulator_enforces_required_fields",
        "without X-Desk",
    ),
    Broken("never_fails", with_simulator(fail_with=_never_fails), "simulator_failures_are_refusals", "fails with"),
    Broken(
        "starts_without_sessions",
        with_simulator(start=lambda account, sessions: simulator.start(account, ())),
        "simulator_accepts_encoded_calls",
        "does not close",
    ),
    Broken(
        "opens_no_session",
        with_simulator(open_session=lambda state, session: state),
        "simulator_opens_sessions",
        "is not open",
    ),
    Broken(
        "sends_elsewhere",
        with_simulator(emit=_emits_otherwise("/gone")),
        "simulator_callbacks_are_decoded",
        "/gone, which no callback serves",
    ),
    Broken("sends_nothing", with_simulator(emit=_emits_nothing), "simulator_callbacks_are_decoded", "Expire is"),
    Broken(
        "sends_too_little",
        with_simulator(required={**simulator.SIMULATOR.required, "left": frozenset({"door"})}),
        "simulator_callbacks_are_decoded",
        "lacks ['door']",
    ),
    Broken(
        "sends_another_body_each_time",
        with_simulator(emit=_emits_otherwise(counting=True)),
        "simulator_is_pure",
        "two different callbacks",
    ),
    Broken(
        "requires_what_is_optional",
        without_goldens(with_simulator(answer=_requires_a_game), *_WITHOUT_GAME),
        "simulator_enforces_required_fields",
        "refuses a request without game",
    ),
    Broken(
        "changes_its_state_in_place",
        with_simulator(
            start=_start_mutable,
            answer=_answer_mutable,
            open_sessions=_open_mutable,
            pending=_pending_mutable,
        ),
        "simulator_is_pure",
        "changes the state",
    ),
)
