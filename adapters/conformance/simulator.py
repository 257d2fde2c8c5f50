"""Checks: the simulator accepts the adapter's requests and the adapter decodes its answers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given

from adapters.conformance import wire
from adapters.conformance.case import Case, examples, result_of, shown
from adapters.conformance.requests import ids
from adapters.conformance.simulator_callbacks import ATTEMPT, BYSTANDER, SESSION, WIN, simulated_callbacks
from adapters.contract import (
    Account,
    Attempt,
    Closed,
    CloseSession,
    CloseSessionCall,
    FieldInvalid,
    HttpReply,
    HttpRequest,
    Outcome,
    RefusalKind,
)
from adapters.golden import CLOSE_SESSION, CallGolden, RefusalExpected
from adapters.simulation import Expire, PlayerSession

AGAIN = Attempt(2, "fedcba9876543210fedcba9876543210", ATTEMPT.now)


@dataclass(frozen=True, slots=True)
class _Scenario:
    """A simulated provider where the player of a golden call has a session, and `others` must stay open."""

    case: Case
    close: CloseSessionCall[Any]
    golden: CallGolden
    account: Account[Any]
    call: CloseSession
    session: PlayerSession
    others: tuple[PlayerSession, ...]
    state: Any

    def request(self, attempt: Attempt = ATTEMPT) -> HttpRequest:
        """The call as our `encode` makes it."""
        return self.close.encode(self.account, self.call, attempt)

    def answer(self, request: HttpRequest, state: Any = None) -> tuple[Any, object]:
        """The provider's next state, and its reply as our `decode` reads it."""
        after, reply = self.case.simulator.answer(self.state if state is None else state, request)
        return after, result_of(self.close.decode, self.account, reply)

    def must_close(self, request: HttpRequest, what: str, state: Any = None) -> Any:
        """The state after this request. Raises a failure unless it closes the session and no other."""
        after, result = self.answer(request, state)
        left = self.case.simulator.open_sessions(after)
        if not (isinstance(result, Closed) and result.outcome is Outcome.CLOSED and left == self.others):
            raise self.case.failure(
                f"the simulated provider does not close on {what}",
                golden=self.golden,
                expected=f"CLOSED, and open {self.others}",
                got=f"{shown(result)}, and open {left}, for {shown(request)}",
                fix="Compare encode, decode and the simulator with the document, and correct the wrong one.",
            )
        return after


def _scenario(case: Case, close: CloseSessionCall[Any], golden: CallGolden, call: CloseSession) -> _Scenario:
    account = replace(golden.account, token=call.token or golden.account.token)
    session = PlayerSession(
        call.session_id or SESSION.session_id, call.user_id or SESSION.user_id, call.game_id or SESSION.game_id
    )
    another = PlayerSession(f"{session.session_id}b", session.user_id, f"{session.game_id}b")
    others = (another, BYSTANDER) if call.session_id or call.game_id else (BYSTANDER,)
    state = case.simulator.start(account, (session, *others))
    return _Scenario(case, close, golden, account, call, session, others, state)


def _scenarios(case: Case) -> Iterator[_Scenario]:
    for close, golden in case.sent:
        yield _scenario(case, close, golden, golden.call)


def simulator_accepts_encoded_calls(case: Case) -> None:
    """Each golden call, as encoded and as printed, closes that session only, and closing it again is no failure."""
    for scenario in _scenarios(case):
        golden = scenario.golden
        after = scenario.must_close(scenario.request(golden.attempt), "the encoded request")
        if golden.printed is not None:
            printed = replace(scenario.request(golden.attempt), body=golden.printed)
            scenario.must_close(printed, "the body that the document prints")
        _, result = scenario.answer(scenario.request(AGAIN), after)
        if not isinstance(result, Closed):
            raise case.failure(
                "closing a session that is closed is decoded as a failure",
                golden=golden,
                expected=Outcome.NO_ACTIVE_SESSION,
                got=result,
                fix="Decode the provider's 'no session' as NO_ACTIVE_SESSION.",
            )


def simulator_opens_sessions(case: Case) -> None:
    """A session that is opened later, or again after a close, is open with the others and can be closed."""
    for scenario in _scenarios(case):
        after = scenario.must_close(scenario.request(scenario.golden.attempt), "the encoded request")
        opened = case.simulator.open_session(after, scenario.session)
        found = case.simulator.open_sessions(opened)
        if set(found) != {scenario.session, *scenario.others}:
            raise case.failure(
                "a session that is opened is not open, or closes another",
                golden=scenario.golden,
                expected=(scenario.session, *scenario.others),
                got=found,
                fix="Add the session to the open ones in the simulator's open_session.",
            )
        scenario.must_close(scenario.request(AGAIN), "a session that was opened later", opened)


def any_id_closes_its_session(case: Case) -> None:
    """An id with any character closes the session with exactly that id, or is refused as FIELD_INVALID."""
    for close, golden in case.sent[:1]:
        _check_any_id(case, close, golden)


def _check_any_id(case: Case, close: CloseSessionCall[Any], golden: CallGolden) -> None:
    fields = close.required_fields | close.optional_fields

    @examples
    @given(user_id=ids, session_id=ids, game_id=ids)
    def holds(user_id: str, session_id: str, game_id: str) -> None:
        call = CloseSession(
            user_id,
            session_id if "session_id" in fields else "",
            game_id if "game_id" in fields else "",
            golden.call.token,
        )
        scenario = _scenario(case, close, golden, call)
        try:
            request = scenario.request()
        except FieldInvalid:
            return
        scenario.must_close(request, f"{call}")

    holds()


def simulator_enforces_required_fields(case: Case) -> None:
    """The simulator refuses a close without a parameter that the document requires, and accepts one without others."""
    for close, golden in case.sent[:1]:
        scenario = _scenario(case, close, golden, golden.call)
        request = scenario.request()
        for name in sorted(case.simulator.required.get(CLOSE_SESSION, ())):
            _check_required(scenario, request, name)
        for name in sorted(case.simulator.optional.get(CLOSE_SESSION, ())):
            _, result = scenario.answer(wire.without(request, name))
            if not isinstance(result, Closed):
                raise case.failure(
                    f"the simulator refuses a request without {name}, which is optional",
                    golden=golden,
                    got=result,
                    fix="Accept it in the simulator; or correct its `required` and `optional`.",
                )


def _check_required(scenario: _Scenario, request: HttpRequest, name: str) -> None:
    if name.lower() not in wire.names_of(request):
        if wire.parsed(request.body) is None and name.encode() in request.body:
            return  # a body of a form that the suite cannot parse
        raise scenario.case.failure(
            f"the document requires {name}, and encode does not send it",
            golden=scenario.golden,
            got=request,
            fix="Encode it; or correct the simulator's `required`.",
        )
    _, result = scenario.answer(wire.without(request, name))
    if isinstance(result, Closed):
        raise scenario.case.failure(
            f"the simulator accepts a request without {name}, which the document requires",
            golden=scenario.golden,
            fix="Refuse it in the simulator.",
        )


def simulator_failures_are_refusals(case: Case) -> None:
    """`fail_with` a code of a golden refusal makes the provider refuse and change nothing, until it is reset."""
    for close, golden in case.sent[:1]:
        scenario = _scenario(case, close, golden, golden.call)
        for code in sorted(_refusing_codes(case)):
            failing = case.simulator.fail_with(scenario.state, code)
            after, result = scenario.answer(scenario.request(), failing)
            if isinstance(result, Closed) or case.simulator.open_sessions(after) != (
                scenario.session,
                *scenario.others,
            ):
                raise case.failure(
                    f"a provider that fails with {code} is not decoded as failing",
                    got=result,
                    fix="Answer with that code and change nothing in the simulator, and refuse it in decode.",
                )
            reset = case.simulator.fail_with(after, "")
            scenario.must_close(scenario.request(AGAIN), "a call after the failure was reset", reset)


def _refusing_codes(case: Case) -> set[str]:
    """The codes of golden refusals that are no code of a golden success."""
    refusing = {
        golden.expect.code or ""
        for _, golden in case.sent
        if isinstance(golden.expect, RefusalExpected) and golden.expect.kind is not RefusalKind.MALFORMED
    }
    return refusing - {golden.expect.answer.code for _, golden in case.sent if isinstance(golden.expect, Closed)} - {""}


# --- Purity -----------------------------------------------------------------------------------------------------------


def simulator_is_pure(case: Case) -> None:
    """The simulator changes no state that it is given, repeats its results, and answers garbage without raising."""
    simulator = case.simulator
    for scenario in _scenarios(case):
        request = scenario.request()
        garbage = [replace(request, body=body) for body in wire.GARBAGE]
        for asked in (request, replace(request, path="/"), replace(request, headers=()), *garbage):
            views = [_view(case, simulator.answer(scenario.state, asked)) for _ in range(2)]
            unchanged = simulator.open_sessions(scenario.state) == (scenario.session, *scenario.others)
            if views[0] != views[1] or not unchanged:
                raise case.failure(
                    "the simulator changes the state that it is given, or depends on more than its arguments",
                    golden=scenario.golden,
                    fix="Return the next state; keep every part of a state immutable.",
                )
    for event in (Expire(SESSION.session_id), WIN):
        first, second = ([callback.delivery for callback in simulated_callbacks(case, event)] for _ in range(2))
        if first != second:
            raise case.failure(
                "the same event gives two different callbacks",
                expected=first,
                got=second,
                fix="Take ids and times from the attempt.",
            )


def _view(case: Case, answered: tuple[Any, HttpReply]) -> tuple[object, ...]:
    state, reply = answered
    return reply, case.simulator.open_sessions(state), case.simulator.pending(state)


CHECKS = (
    simulator_accepts_encoded_calls,
    simulator_opens_sessions,
    any_id_closes_its_session,
    simulator_enforces_required_fields,
    simulator_failures_are_refusals,
    simulator_is_pure,
)
