"""A callback server for tests, with real adapters, a real SQLite file and a real client."""

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
import pytest

from adapters.contract import Account, Adapter, Secret
from adapters.kyren import ADAPTER as KYREN
from adapters.luckymonaco import ADAPTER as LUCKYMONACO
from gateway.callbacks.auth import AccessRule, CallbackAuthenticator
from gateway.callbacks.handler import BODY_LIMIT, TIME_LIMIT_S, CallbackHandler
from gateway.callbacks.processor import CallbackProcessor
from gateway.callbacks.redelivery import Redeliveries
from gateway.callbacks.routing import CallbackProvider, routes_of
from gateway.callbacks.server import CallbackServer, ConnectionLimits
from gateway.callbacks.sources import Network
from gateway.config import Listen
from gateway.masking.mask import Mask
from gateway.server.listening import listening_sockets
from gateway.sessions.errors import GatewayError, Reason
from gateway.store.base import Store
from gateway.store.ceilings import Ceiling
from gateway.store.factory import open_store
from gateway.store.models import Balance, Event, EventFilter, EventType, Exchange
from gateway.store.reconciliation import ItemFilter, ReconciliationItem
from gateway.store.sqlite import SqliteStore
from gateway.telemetry.metrics import Metrics
from gateway.wallet.base import Wallet
from gateway.wallet.builtin import BuiltinWallet
from tests.support.actors import ADA

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
"""The example of the document, with its commas added."""


def clock() -> datetime:
    return datetime.now(UTC)


def provider(
    name: str,
    adapter: Adapter[Any],
    keys: Iterable[str],
    mask: type[Mask] = Mask,
    token: Secret | None = OUR_TOKEN,
    ceilings: Mapping[str, Ceiling] = MappingProxyType({}),
    **settings: Any,
) -> CallbackProvider:
    account = Account(name, adapter.settings(**{"secure_login": "partner-1", **settings}), token)
    return CallbackProvider(adapter, account, mask(adapter.masked, (Secret(TOKEN), *map(Secret, keys))), ceilings)


def altered(adapter: Adapter[Any], **parts: Any) -> Adapter[Any]:
    """The adapter with other parts in all its callbacks."""
    callbacks = {path: replace(callback, **parts) for path, callback in adapter.callbacks.items()}
    return replace(adapter, callbacks=MappingProxyType(callbacks))


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to a callback: its status, and its body decoded and as bytes."""

    status: int
    json: Any
    body: bytes


@dataclass(frozen=True, slots=True)
class CallbackEndpoint:
    """One provider's callback URL: its name, its key, and the first segment of its paths."""

    provider: str
    key: str
    version: str

    def path(self, operation: str) -> str:
        return f"/callbacks/{self.provider}/{self.key}/{self.version}/{operation}"


MONACO = CallbackEndpoint("monaco", MONACO_KEY, "V4")
KYREN_EU = CallbackEndpoint("kyren-eu", KYREN_KEY, "v1")


@dataclass(frozen=True, slots=True)
class CallbackHarness:
    """The running server, and what tests do with it."""

    path: Path
    port: int
    store: Store
    server: CallbackServer
    redeliveries: Redeliveries
    client: aiohttp.ClientSession

    async def deliver(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """POST a callback: bytes and iterators as they are, anything else as JSON."""
        if not hasattr(body, "__aiter__"):
            body = BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with self.client.post(f"http://127.0.0.1:{self.port}{path}", data=body, headers=headers) as reply:
            read = await reply.read()
            return Reply(reply.status, json.loads(read, parse_float=Decimal) if reply.status == 200 else None, read)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection to the server."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def raw(self, request: bytes) -> bytes:
        """Send bytes on a new connection, and read until the server closes it."""
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

    async def only_line(self, verdict: str) -> Exchange:
        """The journal's only line, which has this verdict."""
        (line,) = await self.journal()
        assert line.verdict == verdict
        return line

    async def redeliver(self, line: Exchange) -> Exchange:
        return await self.redeliveries.redeliver(line.id, ADA, "fixed")

    async def obstacle(self, line: Exchange) -> str:
        """Why the line cannot be redelivered, as listed. The error must give the same reason, and change nothing."""
        journal = await self.journal()
        with pytest.raises(GatewayError) as raised:
            await self.redeliver(line)
        obstacle = self.redeliveries.obstacle(line)
        assert raised.value.reason is Reason.NOT_REDELIVERABLE
        assert obstacle
        assert raised.value.message == f"callback {line.id} cannot be redelivered: {obstacle}"
        assert dict(raised.value.details) == {"reason": obstacle}
        assert await self.journal() == journal
        return obstacle

    async def event_types(self) -> list[EventType]:
        """The types of all events so far: those before the event of an expiry that is delivered now."""
        await self.deliver(KYREN_EU.path("SessionExpired"), {**EXPIRED, "sessionId": "the last"})
        commits = -1
        while True:
            commits = await self.store.events_committed(commits)
            events = await self.events()
            if events and events[-1].session_id == "the last":
                return [event.type for event in events[:-1]]

    def lock(self) -> sqlite3.Connection:
        """Lock the SQLite file, until the returned connection is closed."""
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        return other


@dataclass(frozen=True, slots=True)
class HarnessOptions:
    """What a test may change."""

    sources: tuple[Network, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    url: str = ""
    """Of a store; '' is a SQLite file in the harness's folder."""
    wallet: Callable[[Any], Wallet] = field(default=lambda store: BuiltinWallet(store, clock))
    adapter: Adapter[Any] = LUCKYMONACO
    mask: type[Mask] = Mask
    authenticator: type[CallbackAuthenticator] = CallbackAuthenticator
    metrics: Metrics | None = None
    token: Secret | None = OUR_TOKEN
    secure_login: str = "partner-1"
    verify_token: bool = False
    require_secure_login: bool = False
    ceilings: Mapping[str, Ceiling] = field(default_factory=dict)
    """Of the LuckyMonaco account."""
    kyren: bool = True
    """Whether the Kyren account is configured."""
    body_limit: int = BODY_LIMIT
    time_limit_s: float = TIME_LIMIT_S
    busy_seconds: float = 0.1
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    ssl: SSLContext | None = None


@asynccontextmanager
async def open_harness(folder: Path, options: HarnessOptions | None = None) -> AsyncIterator[CallbackHarness]:
    """A callback server for a LuckyMonaco account with two keys, and a Kyren account."""
    options = options or HarnessOptions()
    path = folder / "gateway.db"
    store = open_store(options.url) if options.url else SqliteStore(str(path), busy_seconds=options.busy_seconds)
    await store.open()
    monaco_keys = (MONACO_KEY, MONACO_NEXT_KEY)
    rules = {
        MONACO.provider: AccessRule(tuple(map(Secret, monaco_keys)), options.sources),
        KYREN_EU.provider: AccessRule((Secret(KYREN_KEY),)),
    }
    settings = {
        "secure_login": options.secure_login,
        "verify_token": options.verify_token,
        "require_secure_login": options.require_secure_login,
    }
    providers = [
        provider(
            MONACO.provider, options.adapter, monaco_keys, options.mask, options.token, options.ceilings, **settings
        )
    ]
    if options.kyren:
        providers.append(provider(KYREN_EU.provider, KYREN, (KYREN_KEY,)))
    wallet = options.wallet(store)
    await wallet.start()
    processor = CallbackProcessor(wallet, store, clock)
    routes = routes_of(providers)
    handler = CallbackHandler(
        routes,
        options.authenticator(rules, options.trusted_proxies),
        processor,
        clock,
        body_limit=options.body_limit,
        time_limit_s=options.time_limit_s,
        metrics=options.metrics,
    )
    server = CallbackServer(handler, options.limits)
    sockets = await listening_sockets(Listen("127.0.0.1", 0), "callbacks")
    server.start(sockets, options.ssl)
    port = sockets[0].getsockname()[1]
    try:
        async with aiohttp.ClientSession() as client:
            redeliveries = Redeliveries(routes, processor, store, clock, time_limit_s=options.time_limit_s)
            yield CallbackHarness(path, port, store, server, redeliveries, client)
    finally:
        await server.stop()
        await wallet.close()
        await store.close()
