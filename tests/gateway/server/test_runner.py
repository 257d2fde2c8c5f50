"""A start that fails leaves nothing open that would prevent the next one."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config import Settings, load
from gateway.server.gateway import CannotStart, Gateway
from gateway.server.runner import Server, run_unless
from gateway.server.wallet_server import WalletServer
from tests.support.gateway import configuration


@pytest.mark.parametrize("served", [Gateway, WalletServer], ids=["gateway", "wallet"])
async def test_a_cancelled_start_leaves_nothing_open(tmp_path: Path, served: Callable[[Settings], Server]) -> None:
    """A start that is cancelled at any step releases the database: the next start opens it."""
    settings = load(configuration(tmp_path), {})
    cancelled: list[Server] = []  # referenced, so that nothing is closed by garbage collection
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
            cancelled.append(server)
        turns *= 2
    assert len(cancelled) > 5


async def test_a_start_that_has_failed_is_reported_although_the_stop_has_come() -> None:
    """A start that fails in the moment of SIGTERM raises its error, so that the process does not exit with 0."""
    stop = asyncio.Event()

    async def start() -> None:
        stop.set()
        raise CannotStart("the port is in use")

    with pytest.raises(CannotStart, match="the port is in use"):
        await run_unless(stop, start())
