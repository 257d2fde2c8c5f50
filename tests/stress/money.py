"""What happens to money, at full size: `python -m tests.stress.money`. Prints each figure with what is required;
exits 1 if one falls short. Progress goes to standard error.
"""

import sys
from functools import partial

from tests.stress.figures import Figures
from tests.stress.kill import kill
from tests.stress.machine import machine_in_parts
from tests.stress.outages import Outage, outage, outages_of
from tests.stress.processes import Engine, StressEnvironment
from tests.stress.restarts import restarts
from tests.stress.runner import StressTest, at_scale, live, run_stress_tests
from tests.stress.storm import storm
from tests.stress.subscribers import subscribers
from tests.stress.sync import sync
from tests.stress.throughput import throughput

BOTH = tuple(Engine)
REPLICATED = (Engine.POSTGRES,)

DRIVEN = {Outage.DATABASE_DOWN: 10_000, Outage.DATABASE_HUNG: 3000, Outage.WALLET_DOWN: 2000, Outage.WALLET_HUNG: 2000}
"""Deliveries while it lasts: about half a minute each."""


def _machine(environment: StressEnvironment, scale: float) -> Figures:
    return machine_in_parts(environment, **at_scale(scale, {"examples": 2000}))


STRESS_TESTS = (
    StressTest("storm", live(storm, references=200)),
    StressTest("storm-replicas", live(partial(storm, replicas=3), references=200), REPLICATED),
    StressTest("kill", live(kill, kills=100)),
    StressTest("kill-wallet", live(partial(kill, operators_wallet=True), kills=100)),
    StressTest("restarts", live(restarts, times=20), REPLICATED),
    StressTest("sync", live(sync, deliveries=200)),
    *(
        StressTest(
            what.value.replace(" ", "-"),
            live(partial(outage, what=what), deliveries=DRIVEN[what]),
            tuple(engine for engine in BOTH if what in outages_of(engine)),
        )
        for what in Outage
    ),
    StressTest("subscribers", live(subscribers, events=3000)),
    StressTest("machine", _machine),
    StressTest("throughput", live(throughput, rounds=3)),
)


if __name__ == "__main__":
    sys.exit(run_stress_tests("What happens to money, with real processes and databases.", STRESS_TESTS))
