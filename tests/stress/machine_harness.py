"""A gateway without its listeners, on a database that outlives its crashes: what the state machine acts on."""

import asyncio
import json
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import structlog
from msgspec import structs

from adapters.contract import Accepted, CloseSession, Credited, HttpRequest, Rejected, Secret
from adapters.registry import find
from gateway.callbacks.redelivery import Redeliveries
from gateway.callbacks.routing import CallbackOutcome, InboundCallback
from gateway.config import StoreSettings, load
from gateway.server.gateway import Gateway
from gateway.server.providers import bind_providers, callback_routes
from gateway.sessions.errors import GatewayError
from gateway.store.base import ContentDiffers
from gateway.store.models import Actor, EventFilter, Target
from gateway.store.reconciliation import ItemFilter
from tests.stress.crash_points import Point
from tests.stress.ledger import LedgerState, Reader, ledger_state_of, reading
from tests.stress.model import Answer, ItemKey
from tests.stress.processes import Engine, StressEnvironment
from tests.stress.sending import PROVIDER, Win
from tests.support.gateway import family_table
from tests.support.postgres import PostgresServer
from tests.support.provider import ScriptedProvider, answering, scripted_provider

BEHAVIOURS = {
    "CLOSED": answering(),
    "NO_ACTIVE_SESSION": answering(200, b'{"error":17,"description":"none"}'),
    "REFUSED": answering(200, b'{"error":56,"description":"frozen"}'),
    "UNKNOWN": answering(500, b"{}"),
}
"""How the provider answers a close, by what it comes to."""

TABLES = (
    "events",
    "expiries",
    "transactions",
    "wallet_credits",
    "accounts",
    "reconciliation_items",
    "exchanges",
    "targets",
    "closures",
)
"""What a session leaves behind, each before what it refers to."""

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
MIN_FREE_BYTES = 128 * 1024 * 1024

_REGISTRY = find()
OPERATOR = Actor("backoffice", "an operator")

_CLOSING_S = 5.0
TRIES = 5


class Crashed(BaseException):
    """The process has ended here: nothing catches it."""


def clock() -> datetime:
    return datetime.now(UTC)


class MachineHarness:
    """The real parts, wired by the real Gateway, which can crash."""

    def __init__(self, environment: StressEnvironment, url: str, provider: ScriptedProvider) -> None:
        self._stage = environment
        self._provider = provider
        self._numbers = count(1)
        config = environment.folder / "harness.toml"
        config.write_text(family_table(PROVIDER, "luckymonaco", provider.base_url))
        self._settings = load(config, {})
        self._url = url
        self._reading = AsyncExitStack()

    async def open(self) -> None:
        """Start on the database as it is."""
        store = StoreSettings(url=Secret(self._url), pool_size=2)
        self._gateway = Gateway(structs.replace(self._settings, store=store), _REGISTRY)
        await self._gateway.store.open()
        await self._gateway.providers[PROVIDER].client.start()
        self._routes = callback_routes(self._gateway.providers, bind_providers(self._settings, _REGISTRY))
        self._redeliveries = Redeliveries(self._routes, self._gateway.callback_processor, self.store, clock)
        self.reader: Reader = await self._reading.enter_async_context(reading(self._url))

    @property
    def store(self) -> Any:
        return self._gateway.store

    async def close(self) -> None:
        """Stop, and release everything."""
        await self._reading.aclose()
        await self._gateway.providers[PROVIDER].client.close()
        await self.store.close()

    async def clear(self) -> None:
        """Delete everything that is stored."""
        for table in TABLES:
            await self.reader.rows(f"DELETE FROM {table}")  # noqa: S608 - our own words

    async def crash(self) -> None:
        """Lose the process: what is on disk stays, as it is at this moment."""
        if self._stage.engine is Engine.SQLITE:
            image = self._stage.folder / f"image-{next(self._numbers)}.db"
            left_behind = Path(self._url.removeprefix("sqlite:///"))
            _copy(left_behind, image)
            await self.close()
            _remove(left_behind)
            self._url = f"sqlite:///{image}"
        else:
            await self._reading.aclose()
            await _end_sessions(self._url)
            with suppress(Exception):
                await self.close()
        await self.open()

    # --- What can happen ----------------------------------------------------------------------------------------------

    async def deliver(self, body: bytes, path: str = "v4/result") -> tuple[CallbackOutcome, str]:
        """Process an authenticated callback; returns the outcome, and the id of its line in the journal.

        Answered that it must be sent again, for the disk was slow, it is sent again as a provider does.
        """
        for _ in range(TRIES):
            route = self._routes[PROVIDER, path]
            request = HttpRequest("POST", f"/{route.path}", body=body)
            callback = InboundCallback(uuid4().hex, route, "127.0.0.1", clock()).with_request(request)
            outcome = await self._gateway.callback_processor.process(callback, request)
            if not outcome.is_try_again:
                break
        return outcome, callback.id

    async def deliver_and_crash(self, sent: Win, at: Point) -> None:
        """Deliver, and crash when the Result is there."""
        subject: Any = self._gateway.wallet if at is Point.BEFORE_WALLET else self.store
        name = "credit" if at is Point.BEFORE_WALLET else "apply"
        inner = getattr(subject, name)

        async def crashing(*args: Any) -> Any:
            if at is not Point.BEFORE_WALLET:
                await inner(*args)
            raise Crashed

        setattr(subject, name, crashing)
        with suppress(Crashed):
            await self.deliver(sent.body())
        delattr(subject, name)
        await self.crash()

    async def redeliver(self, exchange_id: str) -> tuple[str, str]:
        """An operator delivers a stored callback again; returns the outcome's word, and the id of the new line."""
        for _ in range(TRIES):
            line = await self._redeliveries.redeliver(exchange_id, OPERATOR, "its cause is fixed")
            if line.verdict != "TRY_AGAIN":
                break
        return line.verdict, line.id

    async def expire(self, user_id: str, session_id: str) -> CallbackOutcome:
        """The provider reports that a session has expired."""
        body = {"providerId": "luckymonaco", "sessionId": session_id, "userId": user_id, "token": "players"}
        return (await self.deliver(json.dumps(body).encode(), "v4/sessionexpired"))[0]

    async def open_account(self, user_id: str, currency: str, opening: Decimal) -> str:
        """'opened', or the field that differs."""
        try:
            opened = await self.store.open_account(user_id, currency, opening, clock())
        except ContentDiffers as differs:
            return differs.field
        assert opened.cash == opening
        return "opened"

    async def end_sessions(self, request_id: str, user_id: str, reason: str, comes_to: str) -> str:
        """A close: its outcome, or the certainty of its failure, or that its id has another content."""
        self._provider.behaviour = BEHAVIOURS[comes_to]
        deadline = asyncio.get_running_loop().time() + _CLOSING_S
        try:
            call = CloseSession(user_id=user_id)
            answer = await self._gateway.close_service.close(request_id, PROVIDER, call, reason, deadline, OPERATOR)
        except GatewayError as failure:
            await self._gateway.close_service.drain()
            return "REQUEST_ID_REUSED" if failure.reason == "REQUEST_ID_REUSED" else str(failure.certainty)
        return str(answer.outcome)

    async def abandon(self, request_id: str, user_id: str, reason: str) -> None:
        """An attempt that was begun and never ends; the gateway that starts next reports it."""
        with suppress(ContentDiffers):
            await self.store.begin_close(request_id, Target(PROVIDER, user_id, reason=reason), clock())
        await self.store.report_abandoned(timedelta(0), clock() + timedelta(seconds=1))

    async def resolve(self, key: ItemKey) -> None:
        """An operator resolves an open item."""
        page = await self.store.items(ItemFilter(), limit=1000)
        item = next(each for each in page.entries if (each.reference, each.user_id, each.fault, each.field) == key)
        await self.store.resolve_item(item.id, OPERATOR, "looked at it", clock())

    async def ledger_state(self) -> LedgerState:
        """The ledger as it is on disk."""
        return await ledger_state_of(self.reader)

    async def subscribed(self) -> list[str]:
        """Ids of all events as a subscriber gets them."""
        return [event.id for event in await self.store.events_after("", EventFilter(), 100_000)]


def _copy(database: Path, image: Path) -> None:
    """A file and its log as they are at this moment: what a process that ends now leaves behind."""
    for ending in ("", "-wal"):
        if (file := _sibling(database, ending)).exists():
            shutil.copyfile(file, _sibling(image, ending))


def _remove(database: Path) -> None:
    for ending in ("", "-wal", "-shm", ".lock"):
        _sibling(database, ending).unlink(missing_ok=True)


def _sibling(database: Path, ending: str) -> Path:
    return database.with_name(database.name + ending)


def answer_of(outcome: CallbackOutcome) -> Answer:
    """An outcome in the model's terms."""
    match outcome.answer:
        case Credited(cash=cash):
            return Answer("CREDITED", cash=cash)
        case Accepted():
            return Answer("ACCEPTED")
        case Rejected(fault=fault, field=field):
            return Answer(fault.value, field)


@asynccontextmanager
async def machine_harness(environment: StressEnvironment) -> AsyncIterator[MachineHarness]:
    """A harness on an empty database, without a log."""
    async with scripted_provider() as provider:
        before = structlog.get_config()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        try:
            harness = MachineHarness(environment, await environment.database(), provider)
            await harness.open()
            try:
                yield harness
            finally:
                await harness.close()
        finally:
            structlog.configure(**before)


def quick_folder(stack: ExitStack, otherwise: Path) -> Path:
    """A folder in memory if there is space: a sequence's end does not depend on the disk."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < MIN_FREE_BYTES:
        return otherwise
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stress-", dir=MEMORY)))


@asynccontextmanager
async def unsynced(environment: StressEnvironment) -> AsyncIterator[None]:
    """PostgreSQL without waiting for the disk, for the same reason."""
    if environment.engine is Engine.SQLITE:
        yield
        return
    await _alter(environment.postgres, "fsync = off")
    try:
        yield
    finally:
        await _alter(environment.postgres, "fsync = on")


async def _alter(server: PostgresServer, setting: str) -> None:
    db = await asyncpg.connect(server.url("postgres"))
    try:
        await db.execute(f"ALTER SYSTEM SET {setting}")
        await db.execute("SELECT pg_reload_conf()")
    finally:
        await db.close()


async def _end_sessions(url: str) -> None:
    """End all connections to a database."""
    db = await asyncpg.connect(url)
    try:
        await db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await db.close()
