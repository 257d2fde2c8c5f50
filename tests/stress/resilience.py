"""What callers are answered whatever a provider does, at full size: `python -m tests.stress.resilience`. Prints each
figure with what is required; exits 1 if one falls short. Progress goes to standard error.
"""

import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from bench.environment import NATIVE_SERVER
from tests.stress.certainty import certainty
from tests.stress.figures import Figures
from tests.stress.hung import hung
from tests.stress.hung_rpcs import hung_rpcs
from tests.stress.matrix import matrix, matrix_with_defaults
from tests.stress.processes import Engine
from tests.stress.runner import StressTest, live, run_stress_tests
from tests.stress.sigterm import sigterm
from tests.stress.slow_clients import slow_clients
from tests.stress.soak import soak
from tests.stress.total_failure import total_failure


def _test(name: str, happening: Callable[..., Coroutine[Any, Any, Figures]], **scaled: int) -> StressTest:
    return StressTest(name, live(happening, **scaled), (Engine.SQLITE,))


STRESS_TESTS = (
    _test("matrix", matrix, calls=1000),
    _test("matrix-native", partial(matrix, grpc=NATIVE_SERVER), calls=200),
    _test("matrix-defaults", matrix_with_defaults, calls=100),
    _test("certainty", certainty, calls=3000),
    _test("hung", hung, pairs=7),
    _test("total-failure", total_failure, calls=3000),
    _test("slow-clients", slow_clients, pairs=7),
    _test("hung-rpcs", hung_rpcs, calls=1000),
    _test("hung-rpcs-native", partial(hung_rpcs, grpc=NATIVE_SERVER), calls=1000),
    _test("sigterm", sigterm, calls=50, slow=50),
    _test("sigterm-native", partial(sigterm, grpc=NATIVE_SERVER), calls=50, slow=50),
    _test("soak", soak, seconds=600),
)


if __name__ == "__main__":
    sys.exit(
        run_stress_tests(
            "What callers are answered whatever a provider does, with real processes and faults.", STRESS_TESTS
        )
    )
