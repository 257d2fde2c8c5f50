"""The house that most tests of callbacks happen in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.callbacks.clients import Scene, a_scene
from tests.gateway.callbacks.harness import KYREN_EU, MONACO, Doorway, House, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


@pytest.fixture(params=[MONACO, KYREN_EU], ids=lambda door: door.provider)
def door(request: pytest.FixtureRequest) -> Doorway:
    """Each provider in turn: what holds for one dialect of the family holds for the other."""
    chosen: Doorway = request.param
    return chosen


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Each engine in turn; '' is the SQLite file of the house."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("emptied_url")
    return url


@pytest.fixture
async def scene(tmp_path: Path, url: str) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path, url=url, attempt_timeout_s=0.2, credit_timeout_s=0.4) as scene:
        yield scene
