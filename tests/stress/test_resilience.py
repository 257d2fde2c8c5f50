"""The proofs of resilience, small."""

from pathlib import Path

import pytest

from tests.stress import hung, hung_rpcs
from tests.stress.certainty import TRIED_AGAIN, at_random
from tests.stress.expected import OF_FEW
from tests.stress.figures import Figure, Figures, shortfalls
from tests.stress.matrix import matrix_in_small
from tests.stress.money_harness import DEFAULTS
from tests.stress.resilience_harness import Engine, Stage
from tests.stress.sigterm import sigterm
from tests.stress.slow_clients import drippers
from tests.stress.soak import slope, soak
from tests.stress.total_failure import failing
from tests.support import faults

QUIET_BUT_NOT_ALONE = 10.0
"""What an answer may take longer in a suite that shares the machine: far less than a hung provider would cost it."""


NEEDS_QUIET = {"with nothing but the caller's own clock", "slope of memory"}
"""What a machine that others work on says nothing of: the first takes 50 ms in which nobody is held up."""


def judged(figures: Figures) -> list[Figure]:
    """What falls short, of what can be judged here."""
    return [each for each in shortfalls(figures) if each.name not in NEEDS_QUIET]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(Engine.SQLITE, tmp_path)


async def test_each_fault_at_each_adapter_is_told_as_it_is(stage: Stage) -> None:
    """Status, reason and certainty are the table's, in time, and true by what the provider got; nothing stays open."""
    assert not judged(await matrix_in_small(stage, calls=5))


async def test_what_is_told_is_true_whatever_faults_come_and_go(stage: Stage) -> None:
    """Also of calls that were tried more than once."""
    assert not judged(await at_random(stage, "retries", TRIED_AGAIN, calls=32, at_once=48, not_sent=OF_FEW))


async def test_a_hung_provider_holds_up_no_other(stage: Stage) -> None:
    """Calls of the others are answered as they were."""
    figures = await hung.hung_with(stage, "by default", DEFAULTS, 1, 0.5, 16, QUIET_BUT_NOT_ALONE)
    assert not judged(figures)


async def test_a_provider_that_only_fails_is_asked_within_the_budget(stage: Stage) -> None:
    """Attempts are counted at the provider."""
    assert not judged(await failing(stage, "status 503", faults.status(503), TRIED_AGAIN, 100, 16))


async def test_hung_calls_are_bounded(stage: Stage) -> None:
    """Each ends by its deadline, and good ones are answered meanwhile."""
    figures = await hung_rpcs.hung_with(stage, "small", DEFAULTS, 300, 2, 0, "", deadline_s=1.0, patient=False)
    assert not judged(figures)


async def test_a_stop_in_the_middle_of_it_all_loses_nothing(stage: Stage) -> None:
    """Calls that hang and connections that drip do not keep the gateway from an end in order."""
    assert not judged(await sigterm(stage, calls=5, dripping=4, working=4, for_s=0.3, patience_s=1.5))


async def test_drippers_are_gone_in_time(stage: Stage) -> None:
    """And good Results are credited among them."""
    figures = await drippers(
        stage,
        number=12,
        pairs=1,
        seconds=0.3,
        limit_s=6.0,
        slower=QUIET_BUT_NOT_ALONE,
        callbacks="receive_timeout_s = 1",
    )
    assert not judged(figures)


async def test_nothing_stays_of_faults_at_random(stage: Stage) -> None:
    """All but memory, which a few seconds tell nothing of."""
    figures = await soak(stage, seconds=1, filling=60, patient=False)
    assert not judged(figures)


def test_a_slope_is_that_of_the_nearest_line() -> None:
    """Whatever lies around it."""
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
    assert slope([(0, 0), (1, 3), (2, 0), (3, 3)]) == pytest.approx(0.6)
