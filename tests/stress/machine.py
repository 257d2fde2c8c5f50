"""State machine: operations in any order, against a plain model, with which the ledger is compared after each step."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from copy import deepcopy
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.stress.crash_points import Point
from tests.stress.figures import Figures, at_least, stated
from tests.stress.machine_harness import BEHAVIOURS, MachineHarness, answer_of, machine_harness, quick_folder, unsynced
from tests.stress.model import CONTENT, Model, ResolvedBy, changed
from tests.stress.processes import ROOT, Engine, StressEnvironment
from tests.stress.sending import Win
from tests.support.postgres import postgres_server

T = TypeVar("T")

NUMBERED_S = 5.0
"""PostgreSQL gives events their places after the commit."""

users = st.sampled_from(("anna", "ben"))
currencies = st.sampled_from(("EUR", "USD"))
references = st.sampled_from(tuple(f"ref-{number}" for number in range(8)))
amounts = st.sampled_from(tuple(map(Decimal, ("0", "0.01", "1", "2.50", "1e-18", "99999999999999.999999999999999999"))))
plain = st.builds(
    Win,
    reference=references,
    user_id=users,
    amount=amounts,
    currency=currencies,
    round_id=st.sampled_from(("round-1", "round-2")),
    game_id=st.sampled_from(("game-1", "game-2")),
)
with_prize = st.builds(
    lambda sent, amount, reference: replace(sent, promo_amount=amount, promo_reference=reference),
    plain,
    amounts,
    references,
)
wins = plain | with_prize
indexes = st.integers(0, 1000)


@dataclass
class MachineRun:
    """What the machines of a run share: one event loop, one harness, emptied for each."""

    loop: asyncio.AbstractEventLoop
    harness: MachineHarness
    sequences: int = 0
    steps: int = 0

    def run(self, happening: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(happening)


class Gateway(RuleBasedStateMachine):
    """One life of a gateway. `machine_run` is set before it runs."""

    machine_run: ClassVar[MachineRun]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.sent: list[Win] = []
        self.held: list[Win] = []
        self.refused: list[tuple[str, Win]] = []
        """Lines of the journal that can be redelivered, with what they hold."""

    @property
    def harness(self) -> MachineHarness:
        return self.machine_run.harness

    @initialize(accounts=st.sets(st.tuples(users, currencies)))
    def begin(self, accounts: set[tuple[str, str]]) -> None:
        self.machine_run.sequences += 1
        self.machine_run.run(self.harness.clear())
        for user, currency in sorted(accounts):
            self.open_account(user, currency, Decimal(100))

    # --- Results ------------------------------------------------------------------------------------------------------

    @rule(sent=wins)
    def deliver(self, sent: Win) -> None:
        self._deliver(sent)

    @precondition(lambda self: self.sent)
    @rule(index=indexes)
    def duplicate(self, index: int) -> None:
        self._deliver(self.sent[index % len(self.sent)])

    @precondition(lambda self: self.sent)
    @rule(index=indexes, name=st.sampled_from(CONTENT), other=with_prize)
    def mismatch(self, index: int, name: str, other: Win) -> None:
        self._deliver(changed(self.sent[index % len(self.sent)], name, other))

    @rule(sent=wins)
    def hold_back(self, sent: Win) -> None:
        self.held.append(sent)

    @precondition(lambda self: len(self.held) > 1)
    @rule(random=st.randoms(use_true_random=False))
    def reorder(self, random: Any) -> None:
        """What was held back is delivered in another order."""
        held, self.held = self.held, []
        random.shuffle(held)
        for sent in held:
            self._deliver(sent)

    @rule(sent=st.lists(wins, min_size=2, max_size=3), index=indexes)
    def at_once(self, sent: list[Win], index: int) -> None:
        """Deliveries at the same moment, copies among them: as if they had come in some order."""
        together = [*sent, sent[index % len(sent)]]
        delivered = self.machine_run.run(_gather([self.harness.deliver(each.body()) for each in together]))
        answers = [answer_of(outcome) for outcome, _ in delivered]
        self.sent += together
        state = self.machine_run.run(self.harness.ledger_state())
        for order in permutations(range(len(together))):
            model = deepcopy(self.model)
            expected = {place: model.deliver(together[place]) for place in order}
            if all(expected[place] == answer for place, answer in enumerate(answers)) and not model.differences(state):
                self.model = model
                return
        raise AssertionError(f"no order of {together} explains {answers}, or the ledger after them")

    @rule(sent=plain)
    def malformed(self, sent: Win) -> None:
        """An amount that is none; its reference can be read, so that an operator sees it."""
        body = sent.body().replace(f'"amount": "{sent.amount:f}"'.encode(), b'"amount": "a lot"')
        outcome, _ = self.machine_run.run(self.harness.deliver(body))
        assert answer_of(outcome) == self.model.refuse(sent, "AMOUNT_INVALID", "amount")

    @precondition(lambda self: self.refused)
    @rule(index=indexes)
    def redeliver(self, index: int) -> None:
        exchange_id, sent = self.refused[index % len(self.refused)]
        word, line = self.machine_run.run(self.harness.redeliver(exchange_id))
        expected = self.model.deliver(sent)
        assert word == expected.word
        if word != "CREDITED":
            self.refused.append((line, sent))

    @rule(sent=wins, at=st.sampled_from(Point))
    def crash(self, sent: Win, at: Point) -> None:
        """There is no answer: what is durable then depends on where the Result was."""
        self.machine_run.run(self.harness.deliver_and_crash(sent, at))
        self.sent.append(sent)
        if at is not Point.BEFORE_WALLET:
            self.model.deliver(sent)

    # --- The rest -----------------------------------------------------------------------------------------------------

    @rule(user=users, currency=currencies, opening=st.sampled_from((Decimal(0), Decimal("10.5"))))
    def open_account(self, user: str, currency: str, opening: Decimal) -> None:
        answer = self.machine_run.run(self.harness.open_account(user, currency, opening))
        assert answer == self.model.open_account(user, currency, opening)

    @rule(user=users, session=st.sampled_from(("session-1", "session-2")))
    def expire(self, user: str, session: str) -> None:
        assert answer_of(self.machine_run.run(self.harness.expire(user, session))) == self.model.expire(user, session)

    @rule(
        request_id=st.sampled_from(("close-1", "close-2", "close-3")),
        user=users,
        reason=st.sampled_from(("excluded", "fraud")),
        comes_to=st.sampled_from(tuple(BEHAVIOURS)),
    )
    def close(self, request_id: str, user: str, reason: str, comes_to: str) -> None:
        answer = self.machine_run.run(self.harness.end_sessions(request_id, user, reason, comes_to))
        assert answer == self.model.close(request_id, user, reason, comes_to)

    @rule(request_id=st.sampled_from(("close-1", "close-2")), user=users)
    def abandon(self, request_id: str, user: str) -> None:
        self.machine_run.run(self.harness.abandon(request_id, user, "excluded"))
        self.model.abandon(request_id, user, "excluded")

    @precondition(lambda self: ResolvedBy.NOBODY in self.model.items.values())
    @rule(index=indexes)
    def resolve(self, index: int) -> None:
        """An operator resolves an item."""
        open_items = [key for key, settled in self.model.items.items() if settled is ResolvedBy.NOBODY]
        key = open_items[index % len(open_items)]
        self.machine_run.run(self.harness.resolve(key))
        self.model.resolve(key)

    # --- What must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def the_ledger_is_the_models(self) -> None:
        self.machine_run.steps += 1
        differences = self.model.differences(self.machine_run.run(self.harness.ledger_state()))
        assert not differences, differences

    def teardown(self) -> None:
        """The gateway's own check agrees, and a subscriber gets the same events in the same order."""
        discrepancies = self.machine_run.run(self.harness.store.discrepancies())
        assert not discrepancies, discrepancies
        kept = [event.id for event in self.machine_run.run(self.harness.ledger_state()).events]
        assert self.machine_run.run(_numbered(self.harness, len(kept))) == kept

    def _deliver(self, sent: Win) -> None:
        outcome, line = self.machine_run.run(self.harness.deliver(sent.body()))
        answer, expected = answer_of(outcome), self.model.deliver(sent)
        assert answer == expected, f"{answer} must be {expected}"
        self.sent.append(sent)
        if answer.word != "CREDITED":
            self.refused.append((line, sent))


async def _gather(happenings: list[Awaitable[T]]) -> list[T]:
    return await asyncio.gather(*happenings)


async def _numbered(harness: MachineHarness, events: int) -> list[str]:
    """What a subscriber gets, once it gets all events."""
    until = monotonic() + NUMBERED_S
    while True:
        received = await harness.subscribed()
        if len(received) >= events or monotonic() > until:
            return received
        await asyncio.sleep(0.005)


def machine(environment: StressEnvironment, *, examples: int = 2000, steps: int = 50) -> Figures:
    """Run the state machine. Raises AssertionError, with the shortest sequence that hypothesis finds of a failure."""
    options = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    with asyncio.Runner() as runner, ExitStack() as folders:
        stack = AsyncExitStack()
        runner.run(stack.enter_async_context(unsynced(environment)))
        environment = replace(environment, folder=quick_folder(folders, environment.folder))
        Gateway.machine_run = machine_run = MachineRun(
            runner.get_loop(), runner.run(stack.enter_async_context(machine_harness(environment)))
        )
        try:
            run_state_machine_as_test(Gateway, settings=options)
        finally:
            runner.run(stack.aclose())
    return sequence_figures(machine_run.sequences, machine_run.steps, examples)


def sequence_figures(sequences: int, steps: int, examples: int) -> Figures:
    """The figures of sequences without a difference from the model."""
    return (
        at_least("sequences without a difference from the model", examples, sequences),
        stated("steps, the ledger compared with the model after each", steps),
    )


def machine_in_parts(environment: StressEnvironment, *, examples: int = 2000, parts: int = 2) -> Figures:
    """Run it in several processes at a time, each with its own sequences and server."""
    each = -(-examples // parts)
    command = (sys.executable, "-m", "tests.stress.machine", environment.engine.value, str(each))
    environment.report(f"{parts} processes run {each} sequences each")
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(parts)]  # noqa: S603 - ourselves
    printed = [process.communicate()[0].split() for process in running]
    assert not any(process.returncode for process in running), "a sequence failed; it is printed above"
    return sequence_figures(
        sum(int(sequences) for sequences, _ in printed), sum(int(steps) for _, steps in printed), examples
    )


def main(engine: Engine, examples: int) -> None:
    """One part: writes how many sequences, and how many steps."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stress-")))
        server = stack.enter_context(postgres_server()) if engine is Engine.POSTGRES else None
        sequences, steps = (
            figure.seen for figure in machine(StressEnvironment(engine, folder, server), examples=examples)
        )
        sys.stdout.write(f"{sequences} {steps}\n")


if __name__ == "__main__":
    main(Engine(sys.argv[1]), int(sys.argv[2]))
