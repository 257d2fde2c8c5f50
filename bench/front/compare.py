"""Two servers side by side, one under load at a time, in turns: processor time per call, and the ratio of the two.

python -m bench.front.compare [--rounds 5] [--seconds 1.5] [--under-way 64] -- COMMAND_A -- COMMAND_B [-- COMMAND_C ...]
A command is a module with its arguments, with NAME=VALUE before it for its environment, which prints its port.
"""

import argparse
import asyncio
import os
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import uvloop

from bench.load import grpc
from bench.load.requests import CLOSE_SESSION, closes
from bench.rounds import HOST

WARM_S = 0.4
CONNECTIONS = 4


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and all its threads, children that are still there included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_seconds(int(child)) for child in children)


@asynccontextmanager
async def serving(command: str) -> AsyncIterator[tuple[int, int]]:
    """Start one; answers its process and port."""
    words = command.split()
    surroundings = dict(os.environ)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        surroundings[name] = value
    python = surroundings.pop("PY", sys.executable)
    process = await asyncio.create_subprocess_exec(
        python, "-m", *words, stdout=asyncio.subprocess.PIPE, env=surroundings, cwd=surroundings.get("PYTHONPATH")
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        yield process.pid, int(line.decode().strip('"}\n').rpartition(":")[2])
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


async def main(options: argparse.Namespace, commands: list[str]) -> None:
    """Measure, print."""
    cpu: dict[str, list[float]] = {command: [] for command in commands}
    rate: dict[str, list[float]] = {command: [] for command in commands}
    p50: dict[str, list[float]] = {command: [] for command in commands}
    calls = closes()
    async with AsyncExitStack() as stack:
        servers = [(command, *await stack.enter_async_context(serving(command))) for command in commands]
        for number in range(options.rounds):
            for command, pid, port in servers if number % 2 == 0 else reversed(servers):
                tally = await grpc.drive(
                    HOST,
                    port,
                    CLOSE_SESSION,
                    calls,
                    in_flight=options.under_way,
                    connections=CONNECTIONS,
                    warm_s=WARM_S,
                    seconds=options.seconds,
                    processor=partial(cpu_seconds, pid),
                )
                assert not tally.wrong, tally.first_wrong
                cpu[command].append(tally.processor_s / tally.answered * 1e6)
                rate[command].append(tally.answered / tally.seconds)
                p50[command].append(statistics.median(tally.latencies) * 1e3)
    base = commands[0]
    for command in commands:
        less = statistics.median(a / b for a, b in zip(cpu[base], cpu[command], strict=True))
        faster = statistics.median(b / a for a, b in zip(rate[base], rate[command], strict=True))
        print(
            f"{statistics.median(cpu[command]):7.1f} us cpu  {less:5.2f} x less  "
            f"{statistics.median(rate[command]):7.0f}/s {faster:5.2f} x  p50 {statistics.median(p50[command]):6.2f} ms"
            f"  {command}",
            flush=True,
        )


if __name__ == "__main__":
    words = " ".join(sys.argv[1:]).split(" -- ")
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--under-way", type=int, default=64)
    uvloop.run(main(parser.parse_args(words[0].split()), words[1:]))
