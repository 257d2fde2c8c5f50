"""A simulator as a separate process."""

import asyncio
import signal
import sys
from typing import Any

import msgspec

from gateway.simulation.control import control_routes
from gateway.simulation.server import SimulatorHost


async def run_simulator(
    simulator: SimulatorHost[Any], host: str = "127.0.0.1", port: int = 0, redeliver_every_s: float | None = None
) -> None:
    """Serve the simulator and its control until SIGTERM or SIGINT. Raises OSError if the address cannot be used.

    When it listens it prints one line, `{"listening":"http://127.0.0.1:40001"}`: the provider's `base_url`.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await simulator.start(host, port, routes=control_routes(simulator), redeliver_every_s=redeliver_every_s)
        line = msgspec.json.encode({"listening": simulator.base_url}).decode()
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await simulator.stop()
