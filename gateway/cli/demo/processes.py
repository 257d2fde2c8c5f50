"""Children of the demo: each says on its first line where it listens, and is ended with the demo."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

STARTING_S = 20
STOPPING_S = 12


class ChildFailed(Exception):
    """A child did not start, or did not end as it should; the message holds what it said."""


class ProcessGroup:
    """The children, so that all can be told to end at once."""

    def __init__(self) -> None:
        self._running: list[asyncio.subprocess.Process] = []

    def joined(self, process: asyncio.subprocess.Process) -> None:
        """Take one more in."""
        self._running.append(process)

    def end(self) -> None:
        """Tell all to end."""
        while self._running:
            self.end_one(self._running[-1])

    def end_one(self, process: asyncio.subprocess.Process) -> None:
        """Tell one to end, unless it was told: a second SIGTERM could meet a process that no longer handles it."""
        if process in self._running:
            self._running.remove(process)
            if process.returncode is None:
                process.terminate()


@asynccontextmanager
async def child(
    family: ProcessGroup, name: str, folder: Path, *arguments: str, reads: Awaitable[str] | None = None
) -> AsyncIterator[dict[str, Any]]:
    """Run `session-gateway` with these arguments; yields its first line, and ends it with SIGTERM.

    `reads` is what it finds on its standard input, once that is known. Raises ChildFailed where there is no first line,
    or where the child does not exit 0.
    """
    log = folder / f"{name}.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            *arguments,
            stdin=asyncio.subprocess.PIPE if reads else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            cwd=folder,
        )
    family.joined(process)
    try:
        if reads and process.stdin:
            process.stdin.write((await reads).encode())
            process.stdin.close()
        yield await _first_line(name, process, log)
    except BaseException:
        await _ended(family, process)
        raise
    code = await _ended(family, process)
    if code != 0:
        raise ChildFailed(f"{name} exited {code} on SIGTERM, where 0 was due: {_said(log)}")


async def _first_line(name: str, process: asyncio.subprocess.Process, log: Path) -> dict[str, Any]:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    try:
        async with asyncio.timeout(STARTING_S):
            line = await process.stdout.readline()
        return msgspec.json.decode(line, type=dict[str, Any])
    except (TimeoutError, msgspec.MsgspecError):
        raise ChildFailed(f"{name} did not say where it listens: {_said(log)}") from None


async def _ended(family: ProcessGroup, process: asyncio.subprocess.Process) -> int:
    family.end_one(process)
    try:
        async with asyncio.timeout(STOPPING_S):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


def _said(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-2000:] or "it said nothing"
