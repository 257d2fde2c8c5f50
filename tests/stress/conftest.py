"""Environments of stress tests: each engine, with a separate folder."""

from pathlib import Path

import pytest

from tests.stress.processes import Engine, StressEnvironment
from tests.support.postgres import PostgresServer


@pytest.fixture(params=list(Engine), ids=str)
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> StressEnvironment:
    """Each engine in turn."""
    if request.param is Engine.SQLITE:
        return StressEnvironment(Engine.SQLITE, tmp_path)
    return StressEnvironment(Engine.POSTGRES, tmp_path, request.getfixturevalue("postgres"))


@pytest.fixture
def replicated(tmp_path: Path, postgres: PostgresServer) -> StressEnvironment:
    """The engine that several gateways may share."""
    return StressEnvironment(Engine.POSTGRES, tmp_path, postgres)
