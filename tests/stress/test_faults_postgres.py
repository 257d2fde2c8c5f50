"""The stress test of a switch to another PostgreSQL server. The wall clock is not judged."""

from pathlib import Path

from tests.stress.faults_postgres import moves
from tests.stress.figures import failures
from tests.stress.processes import Engine, StressEnvironment


async def test_every_user_of_a_connection_leaves_a_server_that_became_read_only(tmp_path: Path) -> None:
    """Committer, readers, sequencer and listener are on the new server before long, each by itself."""
    assert not failures(await moves(StressEnvironment(Engine.POSTGRES, tmp_path)))
