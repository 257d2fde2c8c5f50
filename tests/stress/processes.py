"""Where a stress test runs: a database of one of the engines, and gateways as separate processes on it."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum, unique
from itertools import count
from pathlib import Path

from grpc import aio

from gateway.v1.wallet_service_pb2 import OpenAccountRequest
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.stress.sending import CURRENCY, PROVIDER, USERS
from tests.support.gateway import family_table
from tests.support.postgres import PostgresServer

ROOT = Path(__file__).absolute().parents[2]
SERVE = (sys.executable, "-m", "gateway", "serve")
WALLET = (sys.executable, "-m", "gateway", "wallet")
COMPILED = Path(sys.prefix) / "compiled"
STARTING_S = 60
OPENING = 100


@unique
class Engine(StrEnum):
    """What keeps the state."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


@dataclass(frozen=True)
class StressEnvironment:
    """An engine, an empty folder, and `report`, which prints how far a test is."""

    engine: Engine
    folder: Path
    server: PostgresServer | None = None
    report: Callable[[str], None] = lambda text: None
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    async def database(self) -> str:
        """The url of an empty database."""
        if self.engine is Engine.SQLITE:
            return f"sqlite:///{self.folder / f'gateway-{next(self._numbers)}.db'}"
        return self.postgres.url(await self.postgres.create())

    @property
    def postgres(self) -> PostgresServer:
        """The server, of a environment on PostgreSQL."""
        assert self.server is not None
        return self.server

    def configure(self, url: str, *, wallet: str = "", grpc: str = "127.0.0.1:0") -> Path:
        """A configuration file for a gateway on this database, on free ports; `wallet` is the operator's."""
        path = self.folder / f"gateway-{next(self._numbers)}.toml"
        listen = f'[grpc]\nlisten = "{grpc}"\n'
        listen += "".join(f'[{section}]\nlisten = "127.0.0.1:0"\n' for section in ("callbacks", "admin"))
        store = f'[store]\nurl = "{url}"\n[log]\nlevel = "error"\n'
        target = f'[wallet]\ntarget = "{wallet}"\n' if wallet else ""
        path.write_text(listen + store + target + family_table(PROVIDER, "luckymonaco", "http://127.0.0.1:9"))
        return path


@dataclass(frozen=True)
class Served:
    """A process that serves, and where."""

    process: asyncio.subprocess.Process
    grpc: str
    callbacks: str = ""
    admin: str = ""

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()

    async def ended(self, within_s: float = STARTING_S) -> int:
        """Wait for its end; its exit code, the signal's number below zero. Raises TimeoutError."""
        return await asyncio.wait_for(self.process.wait(), within_s)

    async def stop(self) -> None:
        """End it as operations do."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        assert await self.ended() == 0, f"process {self.pid} did not end well"


async def launch(config: Path, command: Sequence[str] = SERVE) -> asyncio.subprocess.Process:
    """Start a process; its log is next to its configuration."""
    with config.with_suffix(".log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *command,
            "--config",
            str(config),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            cwd=ROOT,
            env=process_environ(),
        )


def process_environ() -> dict[str, str]:
    """Of the processes: they find this checkout first, and are compiled once."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(COMPILED)}


async def serving(process: asyncio.subprocess.Process, config: Path) -> Served:
    """Wait until a process serves."""
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), STARTING_S)
    assert line, f"{config}: {config.with_suffix('.log').read_text()[-3000:]}"
    said = json.loads(line)
    return Served(process, said["grpc"], said.get("callbacks", ""), said.get("admin", ""))


@asynccontextmanager
async def running(config: Path, command: Sequence[str] = SERVE) -> AsyncIterator[Served]:
    """A process that serves; stopped in the end, and killed where that is not enough."""
    process = await launch(config, command)
    try:
        served = await serving(process, config)
        yield served
        if process.returncode is None:
            await served.stop()
    finally:
        await kill_process(process)


async def kill_process(process: asyncio.subprocess.Process) -> None:
    """See that a process has ended, whatever state it is in."""
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


async def open_accounts(grpc: str, users: Iterable[str] = USERS) -> None:
    """Open an account for each player, in the ledger that serves there."""
    async with aio.insecure_channel(grpc) as channel:
        for user in users:
            await WalletServiceStub(channel).OpenAccount(
                OpenAccountRequest(user_id=user, currency=CURRENCY, opening_balance=str(OPENING))
            )


def free_port() -> int:
    """A port that a process can take again after a restart."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def resident_mib(pid: int) -> float:
    """What a process holds in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024
