"""The state machine, small."""

from tests.stress.figures import failures
from tests.stress.machine import machine
from tests.stress.processes import StressEnvironment


def test_every_sequence_ends_as_the_model(environment: StressEnvironment) -> None:
    """After each step of any sequence, the ledger is the model's."""
    assert not failures(machine(environment, examples=60, steps=8))
