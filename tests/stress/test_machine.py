"""The state machine, small."""

from tests.stress.figures import shortfalls
from tests.stress.machine import machine
from tests.stress.resilience_harness import Stage


def test_every_story_ends_as_the_model(stage: Stage) -> None:
    """Whatever happens in whatever order, the books are what the model says, after each step."""
    assert not shortfalls(machine(stage, examples=60, steps=8))
