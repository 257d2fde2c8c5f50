"""From a process's start to its first answered call, on a database that is there, beside an empty process."""

import asyncio

from bench import startup
from bench.environment import SQLITE, Ground
from bench.results import Figure
from bench.rounds import Pace


async def measure(_ground: Ground, pace: Pace) -> list[Figure]:
    """Both started in turns."""
    found = await asyncio.to_thread(startup.measure, rounds=pace.rounds)
    took, used = "start to first answer", "processor time of it"
    return [
        Figure("empty", took, found.empty.wall_s * 1e3, "ms", 1),
        Figure("empty", used, found.empty.cpu_s * 1e3, "ms", 1),
        Figure(SQLITE, took, found.gateway.wall_s * 1e3, "ms", found.wall_ratio),
        Figure(SQLITE, used, found.gateway.cpu_s * 1e3, "ms", found.cpu_ratio),
    ]
