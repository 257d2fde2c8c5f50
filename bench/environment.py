"""Where everything is measured: a folder, a PostgreSQL, a provider; and the servers that are started on it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
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

KEY = "bench-" + "k" * 37


def providers(number: int) -> tuple[str, ...]:
    """So many names."""
    return tuple(f"monaco-{at}" for at in range(number))


PROVIDERS = providers(3)
"""Accounts at one vendor, as an operator with several sub-brands has them. Callbacks come from the first."""
USERS = 1000
OPENED_AT_ONCE = 50

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
base_url = "http://{provider}"
allow_plain_http = true
allow_private_addresses = true
secure_login = "partner-1"
token = "bench-token-0123456789-0123456789-0123456789"
{keys}
"""


@dataclass(frozen=True)
class Ground:
    """What all servers of one run stand on."""

    folder: Path
    provider: str
    """host:port of the provider that closes whatever it is asked to."""
    postgres: PostgresServer | None
    servers: Sequence[str] | None = None
    """The servers to measure, by name, where not all."""
    _numbers: Iterator[int] = field(default_factory=count)

    def wants(self, name: str) -> bool:
        """Whether that server is to be measured."""
        return self.servers is None or name in self.servers

    async def database(self, engine: str) -> str:
        """The url of an empty database of its own."""
        if engine == SQLITE:
            return f"sqlite:///{self.folder}/{next(self._numbers)}.db"
        assert self.postgres is not None, "this ground was laid without PostgreSQL"
        return self.postgres.url(await self.postgres.create())

    def configuration(
        self,
        url: str,
        *,
        provider: str | None = None,
        names: Sequence[str] = PROVIDERS,
        grpc: str = "",
    ) -> Path:
        """A gateway's file: this database, and all its providers at one address; `grpc` holds more lines of [grpc]."""
        sections = (
            _PROVIDER.format(
                name=name, provider=provider or self.provider, keys="" if at else f'callback_keys = ["{KEY}"]'
            )
            for at, name in enumerate(names)
        )
        config = self.folder / f"{next(self._numbers)}.toml"
        config.write_text(LISTENERS.format(url=url) + f"{grpc}\n" + "".join(sections))
        return config

    @asynccontextmanager
    async def gateway(
        self,
        engine: str,
        suffix: str = "",
        *,
        module: str = "gateway",
        workers: int = 1,
        grpc: str = "",
        checkout: Path | None = None,
    ) -> AsyncIterator[Server]:
        """A gateway on an empty database, with the accounts of all users open."""
        config = self.configuration(await self.database(engine), grpc=grpc)
        options = ("--workers", str(workers)) if workers > 1 else ()
        command = (module, "serve", "--config", str(config), *options)
        async with self.serving(engine + suffix, *command, checkout=checkout) as server:
            await open_accounts(server)
            yield server

    def serving(self, name: str, *command: str, checkout: Path | None = None) -> AbstractAsyncContextManager[Server]:
        """A program that tells its ports in a first line."""
        return serving(name, self.folder, *command, checkout=checkout)


@asynccontextmanager
async def ground(engines: Sequence[str] = ENGINES, servers: Sequence[str] | None = None) -> AsyncIterator[Ground]:
    """Ground for servers on these engines, gone in the end."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        postgres_server() if POSTGRES in engines else nullcontext() as postgres,
    ):
        folder = Path(name)
        async with serving("provider", folder, "bench.servers.provider") as provider:
            yield Ground(folder, provider.said["http"], postgres, servers)


async def open_accounts(server: Server) -> None:
    """Open an account for each user."""
    async with grpc.aio.insecure_channel(server.said["grpc"]) as channel:
        wallet = WalletServiceStub(channel)
        requests = (OpenAccountRequest(user_id=f"player-{number}", currency="USD") for number in range(USERS))
        while opening := [wallet.OpenAccount(request) for request in islice(requests, OPENED_AT_ONCE)]:
            await asyncio.gather(*opening)
