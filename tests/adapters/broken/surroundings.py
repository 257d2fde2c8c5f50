"""Broken goldens and simulators of a good adapter."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from adapters.contract import Account, Attempt, HttpReply, HttpRequest
from adapters.simulation import Delivery, NotInThisDialect, PlayerSession, SimulatedEvent
from tests.adapters.broken import GOOD, Broken, with_golden, with_simulator, without_goldens
from tests.adapters.madeup import seal, simulator

_WITHOUT_GAME = tuple(golden.name for _, golden in GOOD.sent if not golden.call.game_id)
_PAID = tuple(name for name in GOOD.golden_files if name.startswith("paid"))


def _without_source(text: str) -> str:
    return text.replace(text.splitlines()[0], 'source = ""')


def _printed_otherwise(text: str) -> str:
    return text.replace("[reply]", "printed = 'player=somebody'\n[reply]")


def _takes_anybody(state: simulator.Parlour, request: HttpRequest) -> tuple[simulator.Parlour, HttpReply]:
    return simulator.answer(state, replace(request, headers=(*request.headers, ("X-Desk", state.token))))


def _never_fails(state: simulator.Parlour, code: str) -> simulator.Parlour:
    return state


@dataclass
class _Board:
    """A state that changes under the hands of whoever holds it."""

    parlour: simulator.Parlour


def _start_a_board(account: Account[Any], sessions: tuple[PlayerSession, ...]) -> _Board:
    return _Board(simulator.start(account, sessions))


def _answer_from_a_board(state: _Board, request: HttpRequest) -> tuple[_Board, HttpReply]:
    state.parlour, reply = simulator.answer(state.parlour, request)
    return state, reply


def _open_on_a_board(state: _Board) -> tuple[PlayerSession, ...]:
    return state.parlour.seats


def _due_on_a_board(state: _Board) -> tuple[Delivery, ...]:
    return state.parlour.untold


_COUNT = count()


def _tells_otherwise(path: str = "", *, counting: bool = False) -> Callable[..., simulator.Parlour]:
    """A `emit` that tells at another path, or something else each time."""

    def emit(state: simulator.Parlour, event: SimulatedEvent, attempt: Attempt) -> simulator.Parlour:
        after = simulator.emit(state, event, attempt)
        delivery = after.untold[-1]
        more = f"&n={next(_COUNT)}".encode() if counting else b""
        sealed = ("X-Seal", seal(state.token, delivery.request.body + more))
        request = replace(delivery.request, body=delivery.request.body + more, headers=(sealed,))
        told = replace(delivery, request=replace(request, path=path or request.path))
        return replace(after, untold=(*after.untold[:-1], told))

    return emit


def _tells_nothing(state: simulator.Parlour, event: SimulatedEvent, attempt: Attempt) -> simulator.Parlour:
    raise NotInThisDialect("the Parlour is silent")


def _demands_a_game(state: simulator.Parlour, request: HttpRequest) -> tuple[simulator.Parlour, HttpReply]:
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
        "takes_anybody", with_simulator(answer=_takes_anybody), "simulator_enforces_required_fields", "without X-Desk"
    ),
    Broken("never_fails", with_simulator(fail_with=_never_fails), "simulator_failures_are_refusals", "fails with"),
    Broken(
        "knows_nobody",
        with_simulator(start=lambda account, sessions: simulator.start(account, ())),
        "simulator_accepts_encoded_calls",
        "does not close",
    ),
    Broken(
        "opens_for_nobody",
        with_simulator(open_session=lambda state, session: state),
        "simulator_opens_sessions",
        "is not open",
    ),
    Broken(
        "tells_elsewhere",
        with_simulator(emit=_tells_otherwise("/gone")),
        "simulator_callbacks_are_decoded",
        "/gone, which no callback serves",
    ),
    Broken("tells_nothing", with_simulator(emit=_tells_nothing), "simulator_callbacks_are_decoded", "Expire is"),
    Broken(
        "tells_too_little",
        with_simulator(required={**simulator.SIMULATOR.required, "left": frozenset({"door"})}),
        "simulator_callbacks_are_decoded",
        "lacks ['door']",
    ),
    Broken(
        "tells_each_time_anew",
        with_simulator(emit=_tells_otherwise(counting=True)),
        "simulator_is_pure",
        "two different callbacks",
    ),
    Broken(
        "demands_what_is_optional",
        without_goldens(with_simulator(answer=_demands_a_game), *_WITHOUT_GAME),
        "simulator_enforces_required_fields",
        "refuses a request without game",
    ),
    Broken(
        "keeps_a_board",
        with_simulator(
            start=_start_a_board,
            answer=_answer_from_a_board,
            open_sessions=_open_on_a_board,
            pending=_due_on_a_board,
        ),
        "simulator_is_pure",
        "changes the state",
    ),
)
