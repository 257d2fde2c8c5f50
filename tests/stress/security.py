"""Attacks from outside and by callers, at full size: `python -m tests.stress.security`. Prints each figure with what
is required; exits 1 if one falls short. Progress goes to standard error.
"""

import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from tests.stress.figures import Figures
from tests.stress.processes import Engine, StressEnvironment
from tests.stress.runner import StressTest, live, run_stress_tests
from tests.stress.security_bodies import mutated_bodies
from tests.stress.security_callbacks import Attack, siege
from tests.stress.security_callers import security_callers
from tests.stress.security_canaries import security_canaries
from tests.stress.security_outbound import security_outbound
from tests.stress.security_postgres import security_postgres
from tests.stress.security_rpc import security_rpc
from tests.stress.security_smuggling import security_smuggling
from tests.stress.security_squatting import security_squatting

_Happening = Callable[..., Coroutine[Any, Any, Figures]]


def _test(name: str, happening: _Happening, **scaled: int) -> StressTest:
    return StressTest(name, live(happening, **scaled), (Engine.SQLITE,))


async def _outbound(_: StressEnvironment) -> Figures:
    return await security_outbound()


STRESS_TESTS = (
    _test("callers", security_callers),
    *(
        _test(
            f"siege-{attack.name.lower().replace('_', '-')}",
            partial(siege, attack=attack),
            connections=1000,
            deliveries=185,
            seconds=20,
        )
        for attack in Attack
    ),
    _test("rpc", security_rpc, octets=12_000_000),
    _test("bodies", mutated_bodies, bodies=100_000),
    _test("smuggling", security_smuggling),
    StressTest("squatting", live(security_squatting)),
    _test("postgres", security_postgres),
    _test("outbound", _outbound),
    _test("canaries", security_canaries, rounds=5),
)


if __name__ == "__main__":
    sys.exit(run_stress_tests("Attacks from outside and by callers, with real processes.", STRESS_TESTS))
