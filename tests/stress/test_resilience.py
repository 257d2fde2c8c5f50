"""The stress tests of resilience, small."""

from pathlib import Path

import pytest

from tests.stress import hung, hung_rpcs
from tests.stress.certainty import RETRYING, at_random
from tests.stress.expected import OF_FEW
from tests.stress.figures import failures
from tests.stress.matrix import matrix_in_small
from tests.stress.processes import Engine, StressEnvironment
from tests.stress.providers_harness import DEFAULTS
from tests.stress.sigterm import sigterm
from tests.stress.slow_clients import slow_clients
from tests.stress.soak import slope, soak
from tests.stress.total_failure import failing
from tests.support import faults


@pytest.fixture
def environment(tmp_path: Path) -> StressEnvironment:
    return StressEnvironment(Engine.SQLITE, tmp_path)


async def test_each_fault_at_each_adapter_is_answered_as_it_is(environment: StressEnvironment) -> None:
    """Status, reason and certainty are the table's, in time, and true by what the provider got; nothing stays open."""
    assert not failures(await matrix_in_small(environment, calls=5))


async def test_certainty_is_true_whatever_faults_come_and_go(environment: StressEnvironment) -> None:
    """Also of calls that were tried more than once."""
    assert not failures(await at_random(environment, "retries", RETRYING, calls=32, at_once=48, not_sent=OF_FEW))


async def test_a_hung_provider_delays_no_other(environment: StressEnvironment) -> None:
    """Calls of the others are answered as they were."""
    figures = await hung.hung_with(environment, "by default", DEFAULTS, 1, 0.5, 16)
    assert not failures(figures)


async def test_a_provider_that_only_fails_is_asked_within_the_budget(environment: StressEnvironment) -> None:
    """Attempts are counted at the provider."""
    assert not failures(await failing(environment, "status 503", faults.status(503), RETRYING, 100, 16))


async def test_hung_calls_are_bounded(environment: StressEnvironment) -> None:
    """Each ends by its deadline, and good ones are answered at the same time."""
    figures = await hung_rpcs.hung_with(
        environment, "small", DEFAULTS, 300, 2, 0, "", deadline_s=1.0, keep_connections=False
    )
    assert not failures(figures)


async def test_a_stop_in_the_middle_of_it_all_loses_nothing(environment: StressEnvironment) -> None:
    """Calls that hang and connections that drip do not keep the gateway from an end in order."""
    assert not failures(await sigterm(environment, calls=5, slow=4, working=4, for_s=0.3, timeout_s=1.5))


async def test_slow_clients_are_ended(environment: StressEnvironment) -> None:
    """And good Results are credited among them."""
    figures = await slow_clients(
        environment,
        number=12,
        pairs=1,
        seconds=0.3,
        limit_s=30.0,
        callbacks="receive_timeout_s = 1",
    )
    assert not failures(figures)


async def test_nothing_stays_of_faults_at_random(environment: StressEnvironment) -> None:
    """All but memory, of which a few seconds say nothing."""
    figures = await soak(environment, seconds=1, filling=60, keep_connections=False)
    assert not failures(figures)


def test_a_slope_is_that_of_the_nearest_line() -> None:
    """Whatever lies around it."""
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
    assert slope([(0, 0), (1, 3), (2, 0), (3, 3)]) == pytest.approx(0.6)
