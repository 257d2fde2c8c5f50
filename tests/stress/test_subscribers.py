"""Subscribers, small."""

from tests.stress.figures import failures
from tests.stress.processes import StressEnvironment
from tests.stress.subscribers import subscribers


async def test_subscribers_miss_nothing_when_a_gateway_is_killed(environment: StressEnvironment) -> None:
    """Each sees every event once, all in the same order, also whose gateway ended in the middle."""
    assert not failures(await subscribers(environment, replicas=2, events=200))
