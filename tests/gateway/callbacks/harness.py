"""A whole callback listener for tests: real adapters, a real SQLite file, a real server and a real client."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from ssl import SSLContext
from types import MappingProxyType
from typing import Any

import aiohttp

from adapters.contract import Account, Adapter, Secret
from adapters.kyren import ADAPTER as KYREN
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from gateway.callbacks.auth import AccessRule, CallbackAuthenticator, Network
from gateway.callbacks.handler import BODY_LIMIT, TIME_LIMIT_S, CallbackHandler
from gateway.callbacks.processor import CallbackProcessor
from gateway.callbacks.redelivery import Redeliveries
from gateway.callbacks.routing import CallbackProvider, routes_of
from gateway.callbacks.server import CallbackServer, ConnectionLimits
from gateway.masking.mask import Mask
from gateway.store.base import Store
from gateway.store.factory import open_store
from gateway.store.models import Balance, Event, EventFilter, Exchange, ItemFilter, ReconciliationItem
from gateway.store.sqlite import SqliteStore
from gateway.telemetry.metrics import Metrics
from gateway.wallet.base import Wallet
from gateway.wallet.builtin import BuiltinWallet

MONACO_KEY = "monaco-key-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
MONACO_NEXT_KEY = "monaco-next-BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
KYREN_KEY = "kyren-key-CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC"
TOKEN = "partner-token-DDDDDDDDDDDDDDDDDDDDD"
OUR_TOKEN = Secret(TOKEN)

SUCCESS = {"error": 0, "description": "Success"}
SEND_AGAIN = {"error": 998, "description": "Internal error, send again"}
UNREADABLE = {"error": 57, "description": "Invalid parameters"}

EXPIRED: Mapping[str, Any] = {
    "providerId": "Luckymonaco",
    "sessionId": "6fd2d6f3bb8f4c5a9fadf15d81206af2",
    "userId": "123456",
    "token": "players-token-EEEEEEEEEEEEEE",
}
"""The document's own example, with its commas."""


def clock() -> datetime:
    return datetime.now(UTC)


def provider(
    name: str,
    adapter: Adapter[Any],
    keys: Iterable[str],
    mask: type[Mask] = Mask,
    token: Secret | None = OUR_TOKEN,
    **settings: Any,
) -> CallbackProvider:
    account = Account(name, adapter.settings(**{"secure_login": "partner-1", **settings}), token)
    return CallbackProvider(adapter, account, mask(adapter.masked, (Secret(TOKEN), *map(Secret, keys))))


def altered(adapter: Adapter[Any], **parts: Any) -> Adapter[Any]:
    """The adapter with other parts in all its callbacks."""
    callbacks = {path: replace(callback, **parts) for path, callback in adapter.callbacks.items()}
    return replace(adapter, callbacks=MappingProxyType(callbacks))


@dataclass(frozen=True, slots=True)
class Said:
    """An answer to a callback: its status, and its body as read and as written."""

    status: int
    json: Any
    body: bytes


@dataclass(frozen=True, slots=True)
class Doorway:
    """One provider, as a caller sees it: its name, its key, and what its paths begin with."""

    provider: str
    key: str
    version: str

    def path(self, operation: str) -> str:
        return f"/callbacks/{self.provider}/{self.key}/{self.version}/{operation}"


MONACO = Doorway("monaco", MONACO_KEY, "V4")
KYREN_EU = Doorway("kyren-eu", KYREN_KEY, "v1")


@dataclass(frozen=True, slots=True)
class House:
    """What a test looks at and acts through."""

    path: Path
    port: int
    store: Store
    server: CallbackServer
    redeliveries: Redeliveries
    client: aiohttp.ClientSession

    async def deliver(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Said:
        """Deliver a callback: bytes and iterators as they are, anything else as JSON."""
        if not hasattr(body, "__aiter__"):
            body = BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with self.client.post(f"http://127.0.0.1:{self.port}{path}", data=body, headers=headers) as reply:
            read = await reply.read()
            return Said(reply.status, json.loads(read, parse_float=Decimal) if reply.status == 200 else None, read)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection of one's own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def raw(self, request: bytes) -> bytes:
        """Send bytes on a connection of their own, and read until the other end closes it."""
        async with self.connect() as (reader, writer):
            writer.write(request)
            return await reader.read()

    async def cash(self, user_id: str = "421", currency: str = "USD") -> Decimal:
        balance = await self.store.balance(user_id, currency)
        assert isinstance(balance, Balance)
        return balance.cash

    async def open_account(self, user_id: str = "421", currency: str = "USD", opening: str = "100") -> None:
        await self.store.open_account(user_id, currency, Decimal(opening), clock())

    async def events(self) -> list[Event]:
        return list(await self.store.events_after("", EventFilter(), 1000))

    async def journal(self) -> list[Exchange]:
        return list(await self.store.exchanges(limit=1000))

    async def items(self) -> list[ReconciliationItem]:
        return list((await self.store.items(ItemFilter())).entries)

    def lock(self) -> sqlite3.Connection:
        """Take the database away from the gateway, until the connection is closed."""
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        return other


@dataclass(frozen=True, slots=True)
class Furnishing:
    """What differs from one house to another."""

    sources: tuple[Network, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    url: str = ""
    """Of another store than the SQLite file in the house's folder."""
    wallet: Callable[[Any], Wallet] = field(default=lambda store: BuiltinWallet(store, clock))
    adapter: Adapter[Any] = LUCKYMONACO
    mask: type[Mask] = Mask
    guard: type[CallbackAuthenticator] = CallbackAuthenticator
    metrics: Metrics | None = None
    token: Secret | None = OUR_TOKEN
    secure_login: str = "partner-1"
    verify_token: bool = False
    kyren: bool = True
    """Whether the Kyren account is configured."""
    body_limit: int = BODY_LIMIT
    time_limit_s: float = TIME_LIMIT_S
    busy_seconds: float = 0.1
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    ssl: SSLContext | None = None


@asynccontextmanager
async def open_house(folder: Path, furnishing: Furnishing | None = None) -> AsyncIterator[House]:
    """A listener for a LuckyMonaco account, with two keys, and a Kyren account."""
    wanted = furnishing or Furnishing()
    path = folder / "gateway.db"
    store = open_store(wanted.url) if wanted.url else SqliteStore(str(path), busy_seconds=wanted.busy_seconds)
    await store.open()
    monaco_keys = (MONACO_KEY, MONACO_NEXT_KEY)
    doors = {
        MONACO.provider: AccessRule(tuple(map(Secret, monaco_keys)), wanted.sources),
        KYREN_EU.provider: AccessRule((Secret(KYREN_KEY),)),
    }
    settings = {"secure_login": wanted.secure_login, "verify_token": wanted.verify_token}
    callers = [provider(MONACO.provider, wanted.adapter, monaco_keys, wanted.mask, wanted.token, **settings)]
    if wanted.kyren:
        callers.append(provider(KYREN_EU.provider, KYREN, (KYREN_KEY,)))
    wallet = wanted.wallet(store)
    await wallet.start()
    judge = CallbackProcessor(wallet, store, clock)
    routes = routes_of(callers)
    handler = CallbackHandler(
        routes,
        wanted.guard(doors, wanted.trusted_proxies),
        judge,
        clock,
        body_limit=wanted.body_limit,
        time_limit_s=wanted.time_limit_s,
        metrics=wanted.metrics,
    )
    server = CallbackServer(handler, wanted.limits)
    port = await server.start("127.0.0.1", 0, wanted.ssl)
    try:
        async with aiohttp.ClientSession() as client:
            redeliveries = Redeliveries(routes, judge, store, clock, time_limit_s=wanted.time_limit_s)
            yield House(path, port, store, server, redeliveries, client)
    finally:
        await server.stop()
        await wallet.close()
        await store.close()
