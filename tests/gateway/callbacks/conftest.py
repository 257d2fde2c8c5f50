"""Fixtures of the callback tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.callbacks.harness import KYREN_EU, MONACO, CallbackEndpoint, CallbackHarness, open_harness
from tests.gateway.callbacks.wallet_harness import WalletHarness, open_wallet_harness


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[CallbackHarness]:
    async with open_harness(tmp_path) as opened:
        yield opened


@pytest.fixture(params=[MONACO, KYREN_EU], ids=lambda endpoint: endpoint.provider)
def endpoint(request: pytest.FixtureRequest) -> CallbackEndpoint:
    """Each provider in turn: both dialects of the family must behave the same."""
    chosen: CallbackEndpoint = request.param
    return chosen


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Each engine in turn; '' is the harness's own SQLite file."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("emptied_url")
    return url


@pytest.fixture
async def wallet_harness(tmp_path: Path, url: str) -> AsyncIterator[WalletHarness]:
    async with open_wallet_harness(tmp_path, url=url, attempt_timeout_s=0.5, credit_timeout_s=1.0) as opened:
        yield opened
