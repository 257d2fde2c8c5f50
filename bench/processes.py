"""Servers under test, each a separate process: how they start and end, and what they cost."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STARTING_S = 60.0
ENDING_S = 3.0
"""Between SIGTERM and SIGKILL. A supervisor's workers end in that time; other servers have nothing to save."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Server:
    """A server that accepts connections, and what its first line said."""

    name: str
    pid: int
    said: dict[str, Any]

    def port(self, listener: str) -> int:
        """Where it listens for `grpc`, `callbacks` or `http`."""
        return int(self.said[listener].rpartition(":")[2])

    def pids(self) -> tuple[int, ...]:
        """Its processes: the one that was started, and its workers."""
        return (self.pid, *(worker["pid"] for worker in self.said.get("workers", ())))

    def processor_s(self) -> float:
        """Seconds of processor time that its processes have used so far."""
        return sum(processor_s(pid) for pid in self.pids())

    def resident_bytes(self) -> int:
        """The resident memory of its processes, shared pages included."""
        return sum(_resident_bytes(pid) for pid in self.pids())


@asynccontextmanager
async def serving(name: str, folder: Path, *command: str, checkout: Path | None = None) -> AsyncIterator[Server]:
    """Start a Python program, and wait for its first line of output. Its log is in the folder.

    Its modules come from `checkout`; None is this one. Raises RuntimeError if it does not start. An error while it
    serves gets a note with the end of its log.
    """
    with (folder / f"{name.replace(' ', '-')}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *command, stdout=asyncio.subprocess.PIPE, stderr=log, cwd=checkout
        )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), STARTING_S)
        if not line:
            raise RuntimeError(f"{name} did not start: {_end_of(Path(log.name))}")
        try:
            yield Server(name, process.pid, json.loads(line))
        except Exception as error:
            error.add_note(f"The end of the log of {name}: {_end_of(Path(log.name))}")
            raise
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), ENDING_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def processor_s(pid: int) -> float:
    """Seconds of processor time that a process has used so far, all its threads."""
    # The clock of another process, as clock_getcpuclockid(3) names it: /proc counts in hundredths of a second.
    return time.clock_gettime(~pid << 3 | 2)


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
