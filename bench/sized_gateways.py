"""Gateways of a size under load: with so many providers, and so many stored references."""

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc

from bench.environment import LISTENERS
from bench.seed import Part, fill_postgres, fill_sqlite
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.support.postgres import PostgresServer

if TYPE_CHECKING:
    from gateway.v1.session_service_pb2_grpc import SessionServiceAsyncStub

FEW_PROVIDERS = 3

PROVIDER = """
[providers.{name}]
adapter = "luckymonaco"
base_url = "http://127.0.0.1:{port}"
allow_plain_http = true
allow_private_addresses = true
secure_login = "partner-1"
token = "token-{secret}"
callback_keys = ["{secret}"]
"""


@dataclass
class Server:
    """One gateway under load."""

    pid: int
    callbacks_port: int
    sessions: "SessionServiceAsyncStub"
    providers: Sequence[str]
    database_pid: int | None = None
    """The first of PostgreSQL's processes."""
    parts: Sequence[Part] = ()
    """What is stored."""

    def stored(self) -> tuple[Part, int]:
        """Any Result that is stored."""
        number = random.randrange(self.parts[-1].high)  # noqa: S311 - no secret
        return next((part, number) for part in self.parts if number < part.high)


class _Provider(asyncio.Protocol):
    """Says to whatever it is asked that it has been done."""

    _ANSWER = b'{"error": 0, "description": "Success"}'
    _REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_ANSWER) + _ANSWER

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"}"):  # of the body, which comes last: the dialect's is one object, and flat
            self._received = b""
            self._transport.write(self._REPLY)


@asynccontextmanager
async def provider() -> AsyncIterator[int]:
    """A provider that listens there."""
    server = await asyncio.get_running_loop().create_server(_Provider, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def gateway(folder: Path, name: str, url: str, providers: int, port: int) -> AsyncIterator[Server]:
    """A gateway with so many providers, all of them at that port."""
    names = ["monaco", *(f"monaco-{number}" for number in range(1, providers))]
    tables = (PROVIDER.format(name=each, port=port, secret=secret_of(each)) for each in names)
    config = folder / f"{name}.toml"
    config.write_text(LISTENERS.format(url=url) + "".join(tables))
    with (folder / f"{name}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            "serve",
            "--config",
            str(config),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line, (folder / f"{name}.log").read_text()
        said = json.loads(line)
        async with grpc.aio.insecure_channel(said["grpc"]) as channel:
            port = int(said["callbacks"].rpartition(":")[2])
            yield Server(process.pid, port, SessionServiceStub(channel), names)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@cache
def secret_of(provider: str) -> str:
    """A provider's token and callback key: as random as any, and the same each time."""
    return sha256(provider.encode()).hexdigest()


class Filled:
    """A database that grows from part to part."""

    def __init__(self, folder: Path, name: str, postgres: PostgresServer | None) -> None:
        self._folder = folder
        self._name = name
        self._postgres = postgres
        self.url = ""
        self.parts: list[Part] = []

    async def grow(self, high: int, port: int) -> None:
        """Store Results up to that number."""
        if not self.url:
            self.url = f"sqlite:///{self._folder}/{self._name}.db"
            if self._postgres is not None:
                self.url = self._postgres.url(await self._postgres.create())
            async with self.serving(port):
                pass  # makes the tables
        part = Part(self.parts[-1].high if self.parts else 0, high)
        if self._postgres is None:
            await asyncio.to_thread(fill_sqlite, self._folder / f"{self._name}.db", part)
        else:
            await fill_postgres(self.url, part)
        self.parts.append(part)

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[Server]:
        """A gateway on it."""
        async with gateway(self._folder, self._name, self.url, FEW_PROVIDERS, port) as server:
            server.parts = tuple(self.parts)
            server.database_pid = self._postgres.pid() if self._postgres is not None else None
            yield server
