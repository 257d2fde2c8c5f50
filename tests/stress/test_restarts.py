"""Restarts, small."""

from pathlib import Path

from tests.stress.figures import failures
from tests.stress.processes import Engine, StressEnvironment
from tests.stress.restarts import restarts
from tests.support.postgres import postgres_server


async def test_a_server_that_ends_at_once_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Restarted under load, PostgreSQL holds every acknowledged Result once, and providers get through in the end."""
    with postgres_server() as server:  # with few databases it is soon back
        assert not failures(await restarts(StressEnvironment(Engine.POSTGRES, tmp_path, server), times=2, between=50))
