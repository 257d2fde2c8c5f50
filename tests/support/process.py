"""The gateway as a separate process, as operations run it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import grpc
from typer.testing import CliRunner

from gateway.cli.commands import cli
from gateway.v1.wallet_service_pb2 import GetBalanceRequest, OpenAccountRequest
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.support.gateway import callback_key

COMMAND = Path(sys.executable).with_name("session-gateway")
START_LIMIT_S = 60
"""Bounds a hang of a process that starts or ends."""


def connections_to(base_url: str) -> frozenset[int]:
    """The ports of this machine from which a server on 127.0.0.1 is connected to."""
    server = f"0100007F:{urlsplit(base_url).port or 0:04X}"
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines())
    return frozenset(int(line[1].partition(":")[2], 16) for line in lines if line[2:4] == [server, "01"])


@dataclass(frozen=True)
class CommandResult:
    """A command that has ended."""

    code: int
    out: str
    err: str


async def run(*arguments: str, environ: Mapping[str, str] | None = None) -> CommandResult:
    """Run `session-gateway` to its end."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=None if environ is None else dict(environ),
    )
    out, err = await process.communicate()
    return CommandResult(process.returncode or 0, out.decode(), err.decode())


async def run_here(*arguments: str) -> CommandResult:
    """As `run`, on a thread of this process: for commands that end by themselves and leave the log alone."""
    ended = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return CommandResult(ended.exit_code, ended.stdout, ended.stderr)


@dataclass(frozen=True)
class Serving:
    """A gateway's process that accepts calls, and what its first line said."""

    process: asyncio.subprocess.Process
    ready_message: dict[str, Any]

    async def deliver(self, http: aiohttp.ClientSession, body: bytes, path: str = "V4/Result") -> Any:
        """Deliver a callback of the provider `lucky`, and answer what the gateway says."""
        url = f"http://{self.ready_message['callbacks']}/callbacks/lucky/{callback_key('lucky')}/{path}"
        async with http.post(url, data=body) as response:
            assert response.status == 200
            return json.loads(await response.read(), parse_float=Decimal)

    async def open_account(self, user_id: str = "421", opening_balance: str = "1") -> None:
        """An account in dollars, in the ledger that it serves."""
        request = OpenAccountRequest(user_id=user_id, currency="USD", opening_balance=opening_balance)
        async with grpc.aio.insecure_channel(self.ready_message["grpc"]) as channel:
            await WalletServiceStub(channel).OpenAccount(request)

    async def cash(self, user_id: str = "421") -> Decimal:
        """What an account of that ledger holds, in dollars."""
        request = GetBalanceRequest(user_id=user_id, currency="USD")
        async with grpc.aio.insecure_channel(self.ready_message["grpc"]) as channel:
            return Decimal((await WalletServiceStub(channel).GetBalance(request)).cash)

    async def stop(self) -> None:
        """End it as operations do, and see that it ends well."""
        self.process.terminate()
        assert await asyncio.wait_for(self.process.wait(), START_LIMIT_S) == 0


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
        line = await asyncio.wait_for(process.stdout.readline(), START_LIMIT_S)
        assert line, log.read_text()
        yield Serving(process, json.loads(line))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
