"""Server processes that may not serve yet, what keeps them from it, and certificates for their listeners."""

import asyncio
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import trustme

from gateway.store.postgres import migrations
from tests.support.gateway import configuration, family_table
from tests.support.process import COMMAND

TLS = 'tls = { cert = "cert.pem", key = "key.pem" }'
MUTUAL_TLS = 'tls = { cert = "cert.pem", key = "key.pem", client_ca = "ca.pem" }'


def configured(folder: Path, store_url: str) -> Path:
    """A configuration with a provider that sends callbacks, on this database."""
    return configuration(folder, family_table("lucky", "luckymonaco", "http://127.0.0.1:1"), store=store_url)


@asynccontextmanager
async def started(
    config: Path, command: str, *more: str, folder: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that may not serve yet. At the end it is killed with its workers."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        command,
        "--config",
        config,
        *more,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def json_line(stream: asyncio.StreamReader | None) -> dict[str, Any]:
    """The next line of a process's output."""
    assert stream is not None
    async with asyncio.timeout(60):
        line: dict[str, Any] = json.loads(await stream.readline())
        return line


async def log_line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """The next line of a process's log but those that say that it has started."""
    while (line := await json_line(process.stderr))["event"] == "started":
        pass
    return line


@asynccontextmanager
async def migrating(store_url: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Hold the lock of a migration. Yields a function that waits until another process waits for it."""
    db = await asyncpg.connect(store_url)

    async def wait_until_blocking() -> None:
        async with asyncio.timeout(60):
            while not await db.fetchval("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1)", migrations._LOCK)
        yield wait_until_blocking
    await db.close()


def issue(folder: Path, authority: trustme.CA) -> int:
    """Write another certificate for the listeners. Returns its serial number."""
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "key.pem").chmod(0o600)
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    decoded = ssl._ssl._test_decode_cert(str(folder / "cert.pem"))  # type: ignore[attr-defined] # the standard library's only way
    return int(decoded["serialNumber"], 16)


def add_callback_tls(config: Path, tls: str) -> None:
    """Add TLS to the callback listener of a configuration."""
    config.write_text(config.read_text().replace("[callbacks]", f"[callbacks]\n{tls}"))
