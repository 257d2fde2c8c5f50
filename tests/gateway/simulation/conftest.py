"""Fixtures of the simulation tests."""

from collections.abc import AsyncIterator

import pytest

from tests.gateway.simulation.harness import CallbackReceiver, callback_receiver


@pytest.fixture
async def receiver() -> AsyncIterator[CallbackReceiver]:
    """Where the callbacks go."""
    async with callback_receiver() as receiver:
        yield receiver
