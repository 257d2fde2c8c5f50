"""Starting: whatever becomes of it, nothing is left open that would keep the next start from working."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config import Settings, load
from gateway.server.gateway import Gateway
from gateway.server.runner import Server
from gateway.server.wallet_server import WalletServer
from tests.support.gateway import configuration


@pytest.mark.parametrize("served", [Gateway, WalletServer], ids=["gateway", "wallet"])
async def test_a_start_that_is_given_up_leaves_nothing_open(
    tmp_path: Path, served: Callable[[Settings], Server]
) -> None:
    """Cancelled earlier or later on its way, it lets go of the database: the next one gets it at once."""
    settings = load(configuration(tmp_path), {})
    given_up: list[Server] = []  # kept, so that nothing is let go of by chance
    turns, started = 1, False
    while not started:
        server = served(settings)
        starting = asyncio.create_task(server.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait({starting})
        started = not starting.cancelled()
        if started:
            starting.result()
            await server.stop()
        else:
            given_up.append(server)
        turns *= 2
    assert len(given_up) > 5
