"""The house that most tests of callbacks happen in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.callbacks.house import KYREN_EU, MONACO, Doorway, House, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


@pytest.fixture(params=[MONACO, KYREN_EU], ids=lambda door: door.provider)
def door(request: pytest.FixtureRequest) -> Doorway:
    """Each provider in turn: what holds for one dialect of the family holds for the other."""
    chosen: Doorway = request.param
    return chosen
