"""The stress test of restores, small."""

from pathlib import Path

from tests.stress.faults_restore import restores
from tests.stress.figures import failures
from tests.stress.processes import Engine, StressEnvironment


async def test_nothing_is_credited_twice_after_a_restore(tmp_path: Path) -> None:
    """A copy put beside the `-wal` of a killed gateway is refused, and a restored one pays each Result once."""
    assert not failures(await restores(StressEnvironment(Engine.SQLITE, tmp_path), rounds=1))
