"""What the tests of this room stand on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import GrpcServerKind
from tests.gateway.rpc.harness import Scene, a_scene


@pytest.fixture(params=list(GrpcServerKind))
async def scene(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """What callers are told is the same, whatever speaks gRPC."""
    async with a_scene(tmp_path, request.param) as scene:
        yield scene
