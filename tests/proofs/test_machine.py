"""The state machine, small."""

from tests.proofs.figures import shortfalls
from tests.proofs.machine import machine
from tests.proofs.stage import Stage


def test_every_story_ends_as_the_model(stage: Stage) -> None:
    """Whatever happens in whatever order, the books are what the model says, after each step."""
    assert not shortfalls(machine(stage, examples=60, steps=8))
