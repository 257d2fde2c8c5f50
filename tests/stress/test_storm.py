"""Storm, small."""

from tests.stress.figures import failures
from tests.stress.processes import StressEnvironment
from tests.stress.storm import storm


async def test_what_is_delivered_many_times_at_once_is_credited_once(environment: StressEnvironment) -> None:
    """Each copy is answered with the one transaction, and a contradiction with 999."""
    assert not failures(await storm(environment, references=16, copies=16))


async def test_replicas_answer_the_same_references(replicated: StressEnvironment) -> None:
    """Copies that arrive at three gateways at once are one credit, at whatever gateway."""
    assert not failures(await storm(replicated, references=16, copies=12, replicas=3))
