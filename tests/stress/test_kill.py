"""Kill, small: every point once."""

import pytest

from tests.stress.figures import failures
from tests.stress.kill import kill
from tests.stress.processes import StressEnvironment


@pytest.mark.parametrize(("operators_wallet", "points"), [(False, 3), (True, 5)], ids=["builtin", "operators"])
async def test_what_was_acknowledged_survives_a_crash_at_any_point(
    environment: StressEnvironment, operators_wallet: bool, points: int
) -> None:
    """Killed at each point, the gateway and the wallet have applied all they acknowledged, and nothing twice."""
    assert not failures(await kill(environment, kills=points, operators_wallet=operators_wallet))
