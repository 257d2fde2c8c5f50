"""What the tests of this room stand on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.rpc.scene import Scene, a_scene


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path) as scene:
        yield scene
