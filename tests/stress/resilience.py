"""What callers learn whatever a provider does, proved heavy: `python -m tests.stress.resilience`. Prints what was seen
beside what is demanded; exits 1 where one falls short. Progress goes to standard error.
"""

import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from tests.stress.certainty import certainty
from tests.stress.figures import Figures
from tests.stress.hung import hung
from tests.stress.hung_rpcs import hung_rpcs
from tests.stress.matrix import matrix, matrix_with_defaults
from tests.stress.proving import Proof, live, prove
from tests.stress.resilience_harness import Engine
from tests.stress.sigterm import sigterm
from tests.stress.slow_clients import drippers
from tests.stress.soak import soak
from tests.stress.total_failure import total_failure

NATIVE = 'server = "native"'


def _proof(name: str, happening: Callable[..., Coroutine[Any, Any, Figures]], **scaled: int) -> Proof:
    return Proof(name, live(happening, **scaled), (Engine.SQLITE,))


PROOFS = (
    _proof("matrix", matrix, calls=1000),
    _proof("matrix-native", partial(matrix, grpc=NATIVE), calls=200),
    _proof("matrix-defaults", matrix_with_defaults, calls=100),
    _proof("certainty", certainty, calls=3000),
    _proof("hung", hung, pairs=7),
    _proof("total-failure", total_failure, calls=3000),
    _proof("drippers", drippers, pairs=7),
    _proof("hung-rpcs", hung_rpcs, calls=1000),
    _proof("hung-rpcs-native", partial(hung_rpcs, grpc=NATIVE), calls=1000),
    _proof("sigterm", sigterm, calls=50, dripping=50),
    _proof("sigterm-native", partial(sigterm, grpc=NATIVE), calls=50, dripping=50),
    _proof("soak", soak, seconds=600),
)


if __name__ == "__main__":
    sys.exit(prove("What callers learn whatever a provider does, proved with real processes and faults.", PROOFS))
