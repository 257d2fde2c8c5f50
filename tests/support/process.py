"""The gateway as a process of its own, as operations run it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("session-gateway")


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


async def run(*arguments: str, environ: Mapping[str, str] | None = None) -> Ended:
    """Run `session-gateway` to its end."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=None if environ is None else dict(environ),
    )
    out, err = await process.communicate()
    return Ended(process.returncode or 0, out.decode(), err.decode())


@dataclass(frozen=True)
class Serving:
    """A gateway's process that accepts calls, and what its first line said."""

    process: asyncio.subprocess.Process
    said: dict[str, Any]


@asynccontextmanager
async def serving(
    config: Path, command: str = "serve", *more: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Serving]:
    """Start `session-gateway serve` (or `simulate`); whatever is left of it is killed in the end."""
    log = config.with_suffix(".log")
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            command,
            "--config",
            str(config),
            *more,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=None if environ is None else dict(environ),
        )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        assert line, log.read_text()
        yield Serving(process, json.loads(line))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
