"""Checks: the adapter's close and the simulator's, written apart from the same document, understand each other."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given

from adapters.conformance import wire
from adapters.conformance.case import Subject, examples, shown
from adapters.conformance.requests import ids
from adapters.conformance.simulator_callbacks import ATTEMPT, BYSTANDER, SESSION, WIN, told
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
    ProviderRefused,
    RefusalKind,
)
from adapters.golden import CLOSE_SESSION, CallGolden, RefusalExpected
from adapters.simulation import Expire, PlayerSession

AGAIN = Attempt(2, "fedcba9876543210fedcba9876543210", ATTEMPT.now)


@dataclass(frozen=True, slots=True)
class _Stage:
    """A simulated provider where the player of a golden call has a session, and others are open that must stay so."""

    subject: Subject
    close: CloseSessionCall[Any]
    golden: CallGolden
    account: Account[Any]
    call: CloseSession
    session: PlayerSession
    spared: tuple[PlayerSession, ...]
    state: Any

    def request(self, attempt: Attempt = ATTEMPT) -> HttpRequest:
        """What our encoder makes of the call."""
        return self.close.encode(self.account, self.call, attempt)

    def answered(self, request: HttpRequest, state: Any = None) -> tuple[Any, Closed | ProviderRefused]:
        """The provider's next state, and what our decoder makes of its reply."""
        after, reply = self.subject.simulator.answer(self.state if state is None else state, request)
        try:
            return after, self.close.decode(self.account, reply)
        except ProviderRefused as refused:
            return after, refused

    def must_close(self, request: HttpRequest, what: str, state: Any = None) -> Any:
        """The state after this request, which must close the session and no other."""
        after, result = self.answered(request, state)
        left = self.subject.simulator.open_sessions(after)
        if not (isinstance(result, Closed) and result.outcome is Outcome.CLOSED and left == self.spared):
            raise self.subject.failure(
                f"the simulated provider does not close on {what}",
                golden=self.golden,
                expected=f"CLOSED, and open {self.spared}",
                got=f"{shown(result)}, and open {left}, for {shown(request)}",
                mend="Look into the document which of encoder, decoder and simulator is wrong.",
            )
        return after


def _stage(subject: Subject, close: CloseSessionCall[Any], golden: CallGolden, call: CloseSession) -> _Stage:
    account = replace(golden.account, token=call.token or golden.account.token)
    session = PlayerSession(
        call.session_id or SESSION.session_id, call.user_id or SESSION.user_id, call.game_id or SESSION.game_id
    )
    another = PlayerSession(f"{session.session_id}b", session.user_id, f"{session.game_id}b")
    spared = (another, BYSTANDER) if call.session_id or call.game_id else (BYSTANDER,)
    state = subject.simulator.start(account, (session, *spared))
    return _Stage(subject, close, golden, account, call, session, spared, state)


def _stages(subject: Subject) -> Iterator[_Stage]:
    for close, golden in subject.sent:
        yield _stage(subject, close, golden, golden.call)


def simulator_understands_the_encoder(subject: Subject) -> None:
    """Each golden call, as encoded and as printed, closes that session alone, and closing again is no failure."""
    for stage in _stages(subject):
        golden = stage.golden
        after = stage.must_close(stage.request(golden.attempt), "what the encoder makes")
        if golden.printed is not None:
            printed = replace(stage.request(golden.attempt), body=golden.printed)
            stage.must_close(printed, "the body that the document prints")
        _, result = stage.answered(stage.request(AGAIN), after)
        if not isinstance(result, Closed):
            raise subject.failure(
                "closing what is closed is taken for a failure",
                golden=golden,
                expected=Outcome.NO_ACTIVE_SESSION,
                got=result,
                mend="Let the decoder tell the provider's 'no session' as NO_ACTIVE_SESSION.",
            )


def simulator_opens_sessions(subject: Subject) -> None:
    """A session that is opened later is open beside the others, also one that was closed, and can be closed."""
    for stage in _stages(subject):
        after = stage.must_close(stage.request(stage.golden.attempt), "what the encoder makes")
        opened = subject.simulator.open_session(after, stage.session)
        seen = subject.simulator.open_sessions(opened)
        if set(seen) != {stage.session, *stage.spared}:
            raise subject.failure(
                "a session that is opened is not open, or closes another",
                golden=stage.golden,
                expected=(stage.session, *stage.spared),
                got=seen,
                mend="Let the simulator's open_session add it to those that are open.",
            )
        stage.must_close(stage.request(AGAIN), "a session that was opened later", opened)


def any_id_reaches_the_provider(subject: Subject) -> None:
    """An id with any character closes the session of exactly that id, or is refused as FIELD_INVALID."""
    for close, golden in subject.sent[:1]:
        _judge_any_id(subject, close, golden)


def _judge_any_id(subject: Subject, close: CloseSessionCall[Any], golden: CallGolden) -> None:
    travelling = close.required_fields | close.optional_fields

    @examples
    @given(user_id=ids, session_id=ids, game_id=ids)
    def holds(user_id: str, session_id: str, game_id: str) -> None:
        call = CloseSession(
            user_id,
            session_id if "session_id" in travelling else "",
            game_id if "game_id" in travelling else "",
            golden.call.token,
        )
        stage = _stage(subject, close, golden, call)
        try:
            request = stage.request()
        except FieldInvalid:
            return
        stage.must_close(request, f"{call}")

    holds()


def simulator_asks_for_what_is_required(subject: Subject) -> None:
    """A close without a parameter that the document requires is refused; one without what is optional is not."""
    for close, golden in subject.sent[:1]:
        stage = _stage(subject, close, golden, golden.call)
        request = stage.request()
        for name in sorted(subject.simulator.required.get(CLOSE_SESSION, ())):
            if name.lower() not in wire.names_of(request):
                if wire.parsed(request.body) is None and name.encode() in request.body:
                    continue  # a body of a form that this suite cannot take apart
                raise subject.failure(
                    f"the document requires {name}, and the encoder does not send it",
                    golden=golden,
                    got=request,
                    mend="Encode it; or mend the simulator's `required`.",
                )
            _, result = stage.answered(wire.without(request, name))
            if isinstance(result, Closed):
                raise subject.failure(
                    f"the simulator takes a request without {name}, which the document requires",
                    golden=golden,
                    mend="Let the simulator refuse it.",
                )
        for name in sorted(subject.simulator.optional.get(CLOSE_SESSION, ())):
            _, result = stage.answered(wire.without(request, name))
            if not isinstance(result, Closed):
                raise subject.failure(
                    f"the simulator refuses a request without {name}, which is optional",
                    golden=golden,
                    got=result,
                    mend="Let the simulator take it; or mend its `required` and `optional`.",
                )


def simulator_failures_are_refusals(subject: Subject) -> None:
    """A provider that answers with a code of its goldens' refusals is understood as refusing, until it stops."""
    for close, golden in subject.sent[:1]:
        stage = _stage(subject, close, golden, golden.call)
        for code in sorted(_refusing_codes(subject)):
            failing = subject.simulator.fail_with(stage.state, code)
            after, result = stage.answered(stage.request(), failing)
            if isinstance(result, Closed) or subject.simulator.open_sessions(after) != (stage.session, *stage.spared):
                raise subject.failure(
                    f"a provider that fails with {code} is not understood as failing",
                    got=result,
                    mend="Let the simulator answer with that code and change nothing, and the decoder refuse.",
                )
            mended = subject.simulator.fail_with(after, "")
            stage.must_close(stage.request(AGAIN), "a call after the failing is over", mended)


def _refusing_codes(subject: Subject) -> set[str]:
    """The codes that stand in goldens of refusals, and in none of a success."""
    refusing = {
        golden.expect.code or ""
        for _, golden in subject.sent
        if isinstance(golden.expect, RefusalExpected) and golden.expect.kind is not RefusalKind.MALFORMED
    }
    return (
        refusing - {golden.expect.answer.code for _, golden in subject.sent if isinstance(golden.expect, Closed)} - {""}
    )


# --- Purity -----------------------------------------------------------------------------------------------------------


def simulator_is_pure(subject: Subject) -> None:
    """The simulator leaves the state it is given alone, gives the same twice, and answers garbage without failing."""
    simulator = subject.simulator
    for stage in _stages(subject):
        request = stage.request()
        garbage = [replace(request, body=body) for body in wire.GARBAGE]
        for asked in (request, replace(request, path="/"), replace(request, headers=()), *garbage):
            views = [_view(subject, simulator.answer(stage.state, asked)) for _ in range(2)]
            if views[0] != views[1] or simulator.open_sessions(stage.state) != (stage.session, *stage.spared):
                raise subject.failure(
                    "the simulator changes the state that it is given, or depends on more than it is given",
                    golden=stage.golden,
                    mend="Return the next state; keep every part of a state immutable.",
                )
    for happening in (Expire(SESSION.session_id), WIN):
        first, second = ([one.delivery for one in told(subject, happening)] for _ in range(2))
        if first != second:
            raise subject.failure(
                "the same happening is told in two ways",
                expected=first,
                got=second,
                mend="Take ids and times from the attempt.",
            )


def _view(subject: Subject, answered: tuple[Any, HttpReply]) -> tuple[object, ...]:
    state, reply = answered
    return reply, subject.simulator.open_sessions(state), subject.simulator.pending(state)


CHECKS = (
    simulator_understands_the_encoder,
    simulator_opens_sessions,
    any_id_reaches_the_provider,
    simulator_asks_for_what_is_required,
    simulator_failures_are_refusals,
    simulator_is_pure,
)
