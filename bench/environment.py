"""What all measurements of a run share: a folder, a PostgreSQL, a provider, and the servers that are started there."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from itertools import count, islice
from pathlib import Path

import grpc

from bench.processes import Server, serving
from gateway.v1.wallet_service_pb2 import OpenAccountRequest
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.support.postgres import PostgresServer, postgres_server

SQLITE = "sqlite"
POSTGRES = "postgres"
ENGINES = (SQLITE, POSTGRES)

NATIVE_SERVER = 'server = "native"'
"""The line of [grpc] that selects the native gRPC server. Without it grpcio serves."""


def providers(number: int) -> tuple[str, ...]:
    """The names of that many providers."""
    return ("monaco", *(f"monaco-{at}" for at in range(1, number)))


@cache
def key_of(provider: str) -> str:
    """A provider's callback key: as random as a real one, and the same in each process."""
    return sha256(provider.encode()).hexdigest()


PROVIDERS = providers(3)
"""Accounts at one vendor, as an operator with several sub-brands has them."""
USERS = 1000
MAX_OPENING = 50
"""Accounts opened at the same time."""

LISTENERS = """
[callbacks]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
url = "{url}"
[grpc]
listen = "127.0.0.1:0"
"""
"""On free ports, with a database."""

_PROVIDER = """
[providers.{name}]
adapter = "luckymonaco"
base_url = "http://{address}"
allow_plain_http = true
allow_private_addresses = true
secure_login = "partner-1"
token = "token-{key}"
callback_keys = ["{key}"]
"""


@dataclass(frozen=True)
class BenchEnvironment:
    """What the servers of one run share."""

    folder: Path
    provider: str
    """host:port of the provider that closes whatever it is asked to."""
    engines: Sequence[str]
    postgres: PostgresServer | None
    """Where one of the engines is PostgreSQL."""
    servers: Sequence[str] | None = None
    """The names of the servers to measure; None: all."""
    _numbers: Iterator[int] = field(default_factory=count)

    def wants(self, name: str) -> bool:
        """Whether that server is to be measured."""
        return self.servers is None or name in self.servers

    async def database(self, engine: str) -> str:
        """Create an empty database; returns its url."""
        if engine == SQLITE:
            return f"sqlite:///{self.folder}/{next(self._numbers)}.db"
        assert self.postgres is not None, "this environment has no PostgreSQL"
        return self.postgres.url(await self.postgres.create())

    def configuration(
        self, url: str, *, names: Sequence[str] = PROVIDERS, provider: str | None = None, grpc_lines: str = ""
    ) -> Path:
        """Write a gateway's configuration: this database, these providers, all of them at one address."""
        address = provider or self.provider
        sections = (_PROVIDER.format(name=name, address=address, key=key_of(name)) for name in names)
        config = self.folder / f"{next(self._numbers)}.toml"
        config.write_text(f"{LISTENERS.format(url=url)}{grpc_lines}\n{''.join(sections)}")
        return config

    @asynccontextmanager
    async def gateway(
        self,
        engine: str,
        suffix: str = "",
        *,
        module: str = "gateway",
        workers: int = 1,
        grpc_lines: str = "",
        checkout: Path | None = None,
    ) -> AsyncIterator[Server]:
        """A gateway on an empty database, with the accounts of all users open."""
        config = self.configuration(await self.database(engine), grpc_lines=grpc_lines)
        options = ("--workers", str(workers)) if workers > 1 else ()
        command = (module, "serve", "--config", str(config), *options)
        async with self.serving(engine + suffix, *command, checkout=checkout) as server:
            await open_accounts(server)
            yield server

    def serving(self, name: str, *command: str, checkout: Path | None = None) -> AbstractAsyncContextManager[Server]:
        """A Python program whose first line of output names its ports."""
        return serving(name, self.folder, *command, checkout=checkout)


@asynccontextmanager
async def bench_environment(
    engines: Sequence[str] = ENGINES, servers: Sequence[str] | None = None
) -> AsyncIterator[BenchEnvironment]:
    """An environment for servers on these engines. Everything in it is removed at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        postgres_server() if POSTGRES in engines else nullcontext() as postgres,
    ):
        folder = Path(name)
        async with serving("provider", folder, "bench.servers.provider") as provider:
            yield BenchEnvironment(folder, provider.said["http"], engines, postgres, servers)


async def open_accounts(server: Server) -> None:
    """Open an account for each user."""
    async with grpc.aio.insecure_channel(server.said["grpc"]) as channel:
        wallet = WalletServiceStub(channel)
        requests = (OpenAccountRequest(user_id=f"player-{number}", currency="USD") for number in range(USERS))
        while opening := [wallet.OpenAccount(request) for request in islice(requests, MAX_OPENING)]:
            await asyncio.gather(*opening)
