"""Storm, small."""

from tests.stress.figures import shortfalls
from tests.stress.resilience_harness import Stage
from tests.stress.storm import storm


async def test_what_is_delivered_many_times_at_once_is_credited_once(stage: Stage) -> None:
    """Each copy is answered with the one transaction, and a contradiction with 999."""
    assert not shortfalls(await storm(stage, references=16, copies=16))


async def test_replicas_answer_the_same_references(replicated: Stage) -> None:
    """Copies that arrive at three gateways at once are one credit, whoever is asked."""
    assert not shortfalls(await storm(replicated, references=16, copies=12, replicas=3))
