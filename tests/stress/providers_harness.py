"""Providers of every dialect behind proxies that inject faults, and a gateway process in front of them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import aiohttp
from grpc import aio

from adapters.registry import find
from adapters.simulation import PlayerSession
from gateway.cli.demo.examples import find_examples
from gateway.config import load
from gateway.server.providers import simulated
from gateway.simulation.server import SimulatorHost
from gateway.v1.session_service_pb2 import CloseSessionRequest
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.stress.event_loop_lag import LagMonitor
from tests.stress.processes import Served, StressEnvironment, resident_mib, running
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.gateway import callback_key, failure_of

if TYPE_CHECKING:
    from gateway.v1.session_service_pb2_grpc import SessionServiceAsyncStub

Tables = Mapping[str, Mapping[str, object]]
"""A provider's limits as the configuration has them: `{"retry": {"attempts": 1}}`."""

NO_RETRIES: Tables = {"retry": {"attempts": 1}, "breaker": {"min_requests": 1_000_000}}
"""Each fault as one request meets it."""

DEFAULTS: Tables = {}
SUCCESS = "OK"
ADAPTERS = find().names()
TOKEN = "configured-token"
LATE_S = 0.05
"""After its deadline, a caller has its answer."""
LAST_S = 0.15
"""Before a call's end: a process that was late earlier than that has time to receive the answer."""
_NUMBERS = count()


@dataclass(frozen=True, slots=True)
class CallResult:
    """A call as its caller saw it end."""

    marker: str
    code: str
    reason: str
    certainty: str
    seconds: float
    request_id: str = ""
    held_up: bool = False
    """Whether this process was, so that the time says nothing of the gateway."""

    @property
    def in_vain(self) -> bool:
        """Whether the caller's own timer ended it, and it is the gateway's fault."""
        return self.outcome == "DEADLINE_EXCEEDED" and not self.held_up

    @property
    def not_judged(self) -> bool:
        """Whether the caller's own timer ended it, and this process may have been too busy to receive more.

        A test must require that these are few.
        """
        return self.outcome == "DEADLINE_EXCEEDED" and self.held_up

    def late(self, deadline_s: float) -> bool:
        """Whether it had to wait longer than it may, and it is the gateway's fault."""
        return self.seconds > deadline_s + LATE_S and not self.held_up

    @property
    def outcome(self) -> str:
        """All of it but the time."""
        return " ".join(filter(None, (self.code, self.reason, self.certainty)))


@dataclass(frozen=True)
class FaultyProvider:
    """One provider: its simulator, and the line to it."""

    name: str
    adapter: str
    host: SimulatorHost[Any]
    proxy: FaultProxy
    by_session: bool
    """Whether its dialect names the session to close."""

    def stock(self, markers: Iterable[str]) -> None:
        """Give each of these players one session, and no other player any."""
        self.host.restart(PlayerSession(marker, marker, "game-1") for marker in markers)

    def still_open(self) -> set[str]:
        """Players whose sessions the provider has not closed."""
        return {session.user_id for session in self.host.sessions}


@dataclass(frozen=True)
class ProvidersHarness:
    """What runs."""

    gateway: Served
    database: str
    config: Path
    providers: Mapping[str, FaultyProvider]
    channel: aio.Channel
    stub: "SessionServiceAsyncStub" = field(repr=False)
    lag_monitor: LagMonitor = field(repr=False)

    async def close(self, provider: FaultyProvider, marker: str = "", deadline_s: float = 5.0) -> CallResult:
        """Have a player's sessions closed."""
        marker = marker or new_marker()
        request = CloseSessionRequest(
            request_id=str(uuid4()),
            provider=provider.name,
            user_id=marker,
            session_id=marker if provider.by_session else "",
            reason="self-exclusion",
        )
        begun = monotonic()
        try:
            await self.stub.CloseSession(request, timeout=deadline_s)
        except aio.AioRpcError as error:
            return self._failed(marker, error, begun, request.request_id)
        return CallResult(marker, SUCCESS, "", "", monotonic() - begun, request.request_id)

    def _failed(self, marker: str, error: aio.AioRpcError, begun: float, request_id: str) -> CallResult:
        now = monotonic()
        late = self.lag_monitor.was_late(max(begun, now - LAST_S))
        try:
            failure = failure_of(error)
        except AssertionError:  # the caller's own clock was faster
            return CallResult(marker, error.code().name, "", "", now - begun, request_id, late)
        return CallResult(marker, failure.code.name, failure.reason, failure.certainty, now - begun, request_id, late)

    async def close_all(
        self, provider: FaultyProvider, markers: Iterable[str], deadline_s: float, at_once: int = 64
    ) -> list[CallResult]:
        """Close for each of these players, `at_once` at a time."""
        left = iter(markers)

        async def work() -> list[CallResult]:
            return [await self.close(provider, marker, deadline_s) for marker in left]

        return [each for ended in await asyncio.gather(*(work() for _ in range(at_once))) for each in ended]

    async def fill(self, calls: int, at_once: int = 64) -> float:
        """Close so often that the store's cache of pages is full, and memory says something; answers calls a second."""
        begun = monotonic()
        for provider in self.providers.values():
            provider.stock(players := new_markers(10))
            markers = islice(cycle(players), calls // len(self.providers))
            ended = await self.close_all(provider, markers, 10.0, at_once)
            assert all(each.code == SUCCESS for each in ended), ended[0]
        return calls / (monotonic() - begun)

    async def usage(self) -> "Usage":
        """What the gateway's process holds."""
        async with aiohttp.ClientSession() as http, http.get(f"http://{self.gateway.admin}/metrics") as answer:
            tasks = re.search(r"^session_gateway_event_loop_tasks ([0-9.]+)$", await answer.text(), re.MULTILINE)
        assert tasks, "the gateway does not export how many tasks it has"
        links = _descriptors(self.gateway.pid)
        return Usage(
            resident_mib(self.gateway.pid),
            sum(link.startswith("socket:") for link in links),
            len(links),
            int(float(tasks[1])),
        )

    async def at_rest(self, before: "Usage", within_s: float = 30.0, *, keep_connections: bool = True) -> "Usage":
        """What it holds once it holds no more than before, or when the time is over.

        Without `keep_connections` the providers end the connections that the gateway would keep for a while.
        """
        for provider in self.providers.values():
            if not keep_connections:
                provider.proxy.cut()
        until = monotonic() + within_s
        while True:
            usage = await self.usage()
            if (usage.sockets <= before.sockets and usage.tasks <= before.tasks) or monotonic() > until:
                return usage
            await asyncio.sleep(0.25)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process holds."""

    memory_mib: float
    sockets: int
    files: int
    """Descriptors, the sockets among them."""
    tasks: int
    """Of asyncio."""


def new_marker() -> str:
    """A new player, whom the proxy recognises in requests."""
    return f"call-{next(_NUMBERS)}"


def new_markers(number: int) -> list[str]:
    return [new_marker() for _ in range(number)]


def _descriptors(pid: int) -> list[str]:
    """What a process's file descriptors are of."""
    links = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed since
            links.append(str(descriptor.readlink()))
    return links


@asynccontextmanager
async def providers_harness(
    environment: StressEnvironment,
    adapters: Mapping[str, str] | None = None,
    tables: Mapping[str, Tables] | None = None,
    grpc: str = "",
) -> AsyncIterator[ProvidersHarness]:
    """A gateway with a provider of each of these names (by default of each adapter), each with its limits.

    `grpc` is more of that section of the configuration.
    """
    adapters = adapters or {name: name for name in ADAPTERS}
    tables = tables or dict.fromkeys(adapters, NO_RETRIES)
    url = await environment.database()
    path = environment.folder / f"providers-{next(_NUMBERS)}.toml"
    path.write_text(_configuration(url, adapters, tables, {}, grpc))
    settings = load(path, {})
    async with AsyncExitStack() as stack:
        providers = {}
        for name, adapter in adapters.items():
            simulator, account = simulated(settings, name)
            host = SimulatorHost(simulator, account)
            await host.start()
            stack.push_async_callback(host.stop)
            proxy = await stack.enter_async_context(fault_proxy(host.base_url))
            close = find().load(adapter).close_session
            assert close is not None
            providers[name] = FaultyProvider(name, adapter, host, proxy, "session_id" in close.required_fields)
        urls = {name: each.proxy.base_url for name, each in providers.items()}
        path.write_text(_configuration(url, adapters, tables, urls, grpc))
        gateway = await stack.enter_async_context(running(path))
        channel = await stack.enter_async_context(aio.insecure_channel(gateway.grpc))
        await channel.channel_ready()
        await stack.enter_async_context((lag_monitor := LagMonitor()).beating())
        yield ProvidersHarness(gateway, url, path, providers, channel, SessionServiceStub(channel), lag_monitor)


def _configuration(
    url: str, adapters: Mapping[str, str], tables: Mapping[str, Tables], urls: Mapping[str, str], grpc: str
) -> str:
    """A JSON value is a TOML value, where it is no object."""
    own = {example.adapter: example.settings for example in find_examples()}
    lines = [f'[{section}]\nlisten = "127.0.0.1:0"' for section in ("callbacks", "admin", "grpc")]
    lines.append(grpc)
    lines.append(f'[store]\nurl = "{url}"\n[log]\nlevel = "error"')
    for name, adapter in adapters.items():
        keys: dict[str, object] = {
            "adapter": adapter,
            "base_url": urls.get(name, "http://127.0.0.1:9"),
            "allow_plain_http": True,
            "allow_private_addresses": True,
            "token": TOKEN,
            **own[adapter],
        }
        if find().load(adapter).callbacks:
            keys["callback_keys"] = [callback_key(name)]
        lines += [f"[providers.{name}]", *_toml(keys)]
        lines.append(limits_toml(name, tables.get(name, {})))
    return "\n".join([*lines, ""])


def limits_toml(provider: str, tables: Tables) -> str:
    """A provider's limits in the configuration."""
    lines = [line for table, keys in tables.items() for line in (f"[providers.{provider}.{table}]", *_toml(keys))]
    return "\n".join(lines)


def _toml(values: Mapping[str, object]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]
