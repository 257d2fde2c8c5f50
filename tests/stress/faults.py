"""Faults of networks, disks, databases and logs, at full size: `python -m tests.stress.faults`. Prints each figure with
what is required; exits 1 if one falls short. Progress goes to standard error.
"""

import sys

from tests.stress.faults_alerts import alerts
from tests.stress.faults_logs import unread_log
from tests.stress.faults_postgres import moves
from tests.stress.faults_restore import restores
from tests.stress.processes import Engine
from tests.stress.runner import StressTest, live, run_stress_tests

STRESS_TESTS = (
    StressTest("restore", live(restores, rounds=20), (Engine.SQLITE,)),
    StressTest("alerts", live(alerts), (Engine.SQLITE,)),
    StressTest("postgres", live(moves), (Engine.POSTGRES,)),
    StressTest("logs", live(unread_log, lines=100_000)),
)


if __name__ == "__main__":
    sys.exit(run_stress_tests("Faults of networks, disks, databases and logs, with real processes.", STRESS_TESTS))
