"""A whole gateway in this process, on free ports, with a real database and a real channel to it."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio

from adapters.registry import Registry, find
from gateway.config import load
from gateway.server.gateway import Gateway, Listening
from gateway.store.base import Store
from gateway.v1.provider_service_pb2_grpc import ProviderServiceStub
from gateway.v1.reconciliation_service_pb2_grpc import ReconciliationServiceStub
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from gateway.v1.transaction_service_pb2_grpc import TransactionServiceStub
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub

if TYPE_CHECKING:
    from gateway.v1.provider_service_pb2_grpc import ProviderServiceAsyncStub
    from gateway.v1.reconciliation_service_pb2_grpc import ReconciliationServiceAsyncStub
    from gateway.v1.session_service_pb2_grpc import SessionServiceAsyncStub
    from gateway.v1.transaction_service_pb2_grpc import TransactionServiceAsyncStub
    from gateway.v1.wallet_service_pb2_grpc import WalletServiceAsyncStub


def callback_key(provider: str) -> str:
    """The key of a provider's callbacks, in these tests."""
    return f"{provider}-{'k' * 40}"


@dataclass(frozen=True)
class Running:
    """A gateway that serves, and ways to speak to it."""

    gateway: Gateway
    listening: Listening
    channel: grpc.aio.Channel
    http: aiohttp.ClientSession
    database: Path

    @property
    def sessions(self) -> "SessionServiceAsyncStub":
        return SessionServiceStub(self.channel)

    @property
    def wallet(self) -> "WalletServiceAsyncStub":
        return WalletServiceStub(self.channel)

    @property
    def reconciliation(self) -> "ReconciliationServiceAsyncStub":
        return ReconciliationServiceStub(self.channel)

    @property
    def providers(self) -> "ProviderServiceAsyncStub":
        return ProviderServiceStub(self.channel)

    @property
    def transactions(self) -> "TransactionServiceAsyncStub":
        return TransactionServiceStub(self.channel)

    @property
    def store(self) -> Store:
        return self.gateway.store

    async def callback(self, provider: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Deliver a callback, and answer the status and the body."""
        url = f"http://{self.listening.callbacks}/callbacks/{provider}/{callback_key(provider)}/{path}"
        async with self.http.post(url, data=body) as response:
            return response.status, await response.read()


def provider_table(name: str, adapter: str, base_url: str, **more: str) -> str:
    """One provider's section of the configuration; `more` holds TOML values. By default a call is not
    retried, so that a test sees each attempt.
    """
    keys = {
        "adapter": f'"{adapter}"',
        "base_url": f'"{base_url}"',
        "allow_plain_http": "true",
        "allow_private_addresses": "true",
        "token": '"configured-token"',
        "retry": "{ attempts = 1 }",
        **more,
    }
    return f"[providers.{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def family_table(name: str, adapter: str, base_url: str, **more: str) -> str:
    """A section for a provider of the LuckyMonaco family, with callbacks."""
    keys = {"secure_login": '"partner-1"', "callback_keys": f'["{callback_key(name)}"]', **more}
    return provider_table(name, adapter, base_url, **keys)


def configuration(folder: Path, *sections: str, grpc: str = "", store: str = "") -> Path:
    """A configuration file on free ports, with its database next to it; `grpc` holds more lines of that section.

    `store` is the url of another database.
    """
    text = f"""
[grpc]
listen = "127.0.0.1:0"
{grpc}
[callbacks]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
url = "{store or f"sqlite:///{folder / 'gateway.db'}"}"
"""
    path = folder / "gateway.toml"
    path.write_text(text + "\n".join(sections))
    return path


@asynccontextmanager
async def running_gateway(
    folder: Path, *sections: str, grpc: str = "", store: str = "", registry: Registry | None = None
) -> AsyncIterator[Running]:
    """Start a gateway with these sections, and stop it."""
    settings = load(configuration(folder, *sections, grpc=grpc, store=store), {})
    gateway = Gateway(settings, registry or find())
    listening = await gateway.start()
    try:
        async with (
            aio.insecure_channel(listening.grpc) as channel,
            aiohttp.ClientSession() as http,
        ):
            yield Running(gateway, listening, channel, http, folder / "gateway.db")
    finally:
        await gateway.stop()


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process's lock, as the gateway's store sees it."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@dataclass(frozen=True)
class RpcFailure:
    """A failed call as its caller sees it."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    fields: tuple[str, ...]
    retry: bool
    retry_after_s: float

    @property
    def certainty(self) -> str:
        return self.metadata.get("certainty", "")


def failure_of(error: grpc.aio.AioRpcError) -> RpcFailure:
    """Read a failed call's google.rpc.Status."""
    status = _status(error)
    info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
    has_retry = False
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
        has_retry = detail.Unpack(retry) or has_retry
    return RpcFailure(
        code=error.code(),
        message=error.details() or "",
        reason=info.reason,
        metadata=dict(info.metadata),
        fields=tuple(violation.field for violation in bad.field_violations),
        retry=has_retry,
        retry_after_s=retry.retry_delay.ToMilliseconds() / 1000,
    )


def _status(error: grpc.aio.AioRpcError) -> Status:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return Status.FromString(value)
    raise AssertionError(f"no google.rpc.Status came with {error!r}")
