"""A simulator as a separate process."""

import asyncio
import signal
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from adapters.contract import Account
from adapters.simulation import PlayerSession, Simulator
from gateway.simulation.control import control_routes
from gateway.simulation.faults import Planned
from gateway.simulation.server import SimulatorHost

StateT = TypeVar("StateT")


async def run_simulator(
    simulator: Simulator[StateT],
    account: Account[Any],
    *,
    sessions: Iterable[PlayerSession] = (),
    host: str = "127.0.0.1",
    port: int = 0,
    callback_url: str | None = None,
    redeliver_every_s: float | None = None,
    faults: Iterable[Planned] = (),
) -> None:
    """Serve the simulator and its control until SIGTERM or SIGINT. Raises OSError if the address cannot be used.

    When it listens it prints one line, `{"listening":"http://127.0.0.1:40001"}`: the provider's `base_url`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    hosted = SimulatorHost(simulator, account, sessions, callback_url, faults=faults)
    try:
        await hosted.start(host, port, routes=control_routes(hosted), redeliver_every_s=redeliver_every_s)
        line = msgspec.json.encode({"listening": hosted.base_url}).decode()
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await hosted.stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
