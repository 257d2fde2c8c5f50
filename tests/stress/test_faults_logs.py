"""The stress test of an unread log, small."""

from pathlib import Path

from tests.stress.faults_logs import unread_log
from tests.stress.figures import failures
from tests.stress.processes import Engine, StressEnvironment


async def test_a_log_that_nobody_reads_delays_nothing(tmp_path: Path) -> None:
    """After many times what a pipe takes, every Result is credited, health answers, and SIGTERM ends it with 0."""
    assert not failures(await unread_log(StressEnvironment(Engine.SQLITE, tmp_path), lines=2000))
