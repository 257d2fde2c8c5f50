"""The proofs' stages, small: each engine, with a folder of its own."""

from pathlib import Path

import pytest

from tests.stress.resilience_harness import Engine, Stage
from tests.support.postgres import PostgresServer


@pytest.fixture(params=list(Engine), ids=str)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    """Each engine in turn."""
    if request.param is Engine.SQLITE:
        return Stage(Engine.SQLITE, tmp_path)
    return Stage(Engine.POSTGRES, tmp_path, request.getfixturevalue("postgres"))


@pytest.fixture
def replicated(tmp_path: Path, postgres: PostgresServer) -> Stage:
    """The engine that several gateways may share."""
    return Stage(Engine.POSTGRES, tmp_path, postgres)
