"""From a process's start to its first answered call, on a database that is there, beside an empty process."""

import asyncio

from bench import startup
from bench.environment import SQLITE, BenchEnvironment
from bench.results import Figure
from bench.rounds import Timing


async def measure(_environment: BenchEnvironment, timing: Timing) -> list[Figure]:
    """Both started in turns."""
    found = await asyncio.to_thread(startup.measure, rounds=timing.rounds)
    took, used = "start to first answer", "processor time of it"
    return [
        Figure("empty", took, found.empty.wall_s * 1e3, "ms", 1),
        Figure("empty", used, found.empty.cpu_s * 1e3, "ms", 1),
        Figure(SQLITE, took, found.gateway.wall_s * 1e3, "ms", found.wall_ratio),
        Figure(SQLITE, used, found.gateway.cpu_s * 1e3, "ms", found.cpu_ratio),
    ]
