"""All proofs, heavy: `python -m tests.stress.money`. Prints what was seen beside what is demanded; exits 1 where one
falls short. Progress goes to standard error.
"""

import sys
from functools import partial

from tests.stress.figures import Figures
from tests.stress.kill import kill
from tests.stress.machine import machine_in_parts
from tests.stress.outages import Outage, outage, outages_of
from tests.stress.proving import Proof, at_scale, live, prove
from tests.stress.resilience_harness import Engine, Stage
from tests.stress.restarts import restarts
from tests.stress.storm import storm
from tests.stress.subscribers import subscribers
from tests.stress.sync import sync
from tests.stress.throughput import throughput

BOTH = tuple(Engine)
REPLICATED = (Engine.POSTGRES,)

DRIVEN = {Outage.DATABASE_DOWN: 10_000, Outage.DATABASE_HUNG: 3000, Outage.WALLET_DOWN: 2000, Outage.WALLET_HUNG: 2000}
"""Deliveries while it lasts: about half a minute each."""


def _machine(stage: Stage, scale: float) -> Figures:
    return machine_in_parts(stage, **at_scale(scale, {"examples": 2000}))


PROOFS = (
    Proof("storm", live(storm, references=200)),
    Proof("storm-replicas", live(partial(storm, replicas=3), references=200), REPLICATED),
    Proof("kill", live(kill, kills=100)),
    Proof("kill-wallet", live(partial(kill, operators_wallet=True), kills=100)),
    Proof("restarts", live(restarts, times=20), REPLICATED),
    Proof("sync", live(sync, deliveries=200)),
    *(
        Proof(
            what.value.replace(" ", "-"),
            live(partial(outage, what=what), deliveries=DRIVEN[what]),
            tuple(engine for engine in BOTH if what in outages_of(engine)),
        )
        for what in Outage
    ),
    Proof("subscribers", live(subscribers, events=3000)),
    Proof("machine", _machine),
    Proof("throughput", live(throughput, rounds=3)),
)


if __name__ == "__main__":
    sys.exit(prove("What happens to money, proved with real processes and databases.", PROOFS))
