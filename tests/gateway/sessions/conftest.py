"""A gateway with a scripted provider."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.sessions.harness import CloseHarness, close_harness


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[CloseHarness]:
    """A gateway that makes one attempt for each call."""
    async with close_harness(tmp_path) as started:
        yield started
