"""Subscribers, small."""

from tests.stress.figures import shortfalls
from tests.stress.resilience_harness import Stage
from tests.stress.subscribers import subscribers


async def test_subscribers_miss_nothing_when_a_gateway_is_killed(stage: Stage) -> None:
    """Each sees every event once, all in the same order, also whose gateway ended in the middle."""
    assert not shortfalls(await subscribers(stage, replicas=2, events=200))
