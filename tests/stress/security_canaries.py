"""Canary secrets in every place that can hold one, and a search for them in everything that the gateway writes.

A canary's core is letters and digits, so that JSON and percent escapes leave it as it is; base64 is searched for at
its three offsets. Hexadecimal is no encoding that is masked: a provider's own echo of it is counted and allowed.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import grpc
from aiohttp import web

import adapters
from gateway.v1.session_service_pb2 import CloseSessionRequest, ListProvidersRequest, WatchEventsRequest
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.stress import canary_adapter
from tests.stress.figures import Figures, at_least, none_of, stated
from tests.stress.processes import StressEnvironment
from tests.support.gateway import configuration, provider_table
from tests.support.process import Serving, run, serving
from tests.support.provider import ScriptedProvider, scripted_provider
from tests.support.results import result_body
from tests.support.waiting import until

WRITTEN = ("plain", "env", "file")
"""How a secret is written: each has a provider."""
USERS = ("close", "refuse", "garbage", "hang", "reset", canary_adapter.BREAK_IN_ENCODE, canary_adapter.BREAK_IN_DECODE)
"""How the provider answers, or what the adapter does, by the user of a close."""
HANG_LIMIT_S = 0.5
_TAIL = '+/ "&=\\é'
"""What has to be escaped in JSON, in a URL and in base64."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A canary that was found."""

    canary: str
    encoding: str
    place: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was searched, and what was found."""

    canaries: tuple[str, ...]
    places: Mapping[str, int]
    """Bytes searched, by place."""
    sent: int
    """Canaries that the provider received: what the gateway really used."""
    hits: tuple[Hit, ...]
    hexadecimal: tuple[Hit, ...]
    """Found in the provider's own echo, as hexadecimal."""


@dataclass
class Canaries:
    """The canaries by name, and everything that is searched."""

    cores: dict[str, str] = field(default_factory=dict)
    searched: list[tuple[str, bytes]] = field(default_factory=list)

    def new(self, name: str, tail: str = _TAIL) -> str:
        """Another canary."""
        self.cores[name] = f"CNRY{secrets.token_hex(10)}"
        return self.cores[name] + tail

    def add(self, place: str, content: str | bytes) -> None:
        """Search this too."""
        self.searched.append((place, content.encode() if isinstance(content, str) else content))

    def find(self, encodings: Mapping[str, Iterable[bytes]], content: bytes) -> Iterator[str]:
        """The encodings in which a canary occurs."""
        return (name for name, forms in encodings.items() if any(form in content for form in forms))

    def report(self, received: bytes) -> Report:
        """Search."""
        hits: list[Hit] = []
        sent = 0
        for name, core in self.cores.items():
            forms = _encodings(core)
            sent += any(self.find(forms, received))
            hits += [Hit(name, found, place) for place, content in self.searched for found in self.find(forms, content)]
        sizes: Counter[str] = Counter()
        for place, content in self.searched:
            sizes[place] += len(content)
        return Report(
            tuple(self.cores),
            sizes,
            sent,
            tuple(hit for hit in hits if hit.encoding != "hexadecimal"),
            tuple(hit for hit in hits if hit.encoding == "hexadecimal"),
        )


def _encodings(core: str) -> Mapping[str, Sequence[bytes]]:
    raw = core.encode()
    return {
        "plain": [raw],
        "base64": [b64encode(b"\0" * before + raw)[4 if before else 0 : -4] for before in range(3)],
        "hexadecimal": [raw.hex().encode(), raw.hex().upper().encode()],
    }


async def search(folder: Path, rounds: int = 1, *, thorough: bool = False) -> Report:
    """Run a gateway at debug level, do everything that shows something, and search what it wrote.

    `thorough` runs every command with bad files, not `serve` alone.
    """
    canaries = Canaries()
    environ = _install_adapter(folder)
    async with _collector(canaries) as traces, scripted_provider() as provider:
        provider.behaviour = _answer
        config = _Configuration(folder, canaries, environ, provider.base_url, traces)
        path = config.write()
        await _check(canaries, path, environ, "check of a good file")
        async with serving(path, environ=environ) as gateway, aiohttp.ClientSession() as http:
            for _ in range(rounds):
                await _call(canaries, gateway)
                await _call_back(canaries, config, gateway, http)
                await _reload(canaries, config, gateway)
                await _call(canaries, gateway)  # with the secrets of the good reload
                await _observe(canaries, gateway, http)
                await _administer(canaries, path, environ)
            await gateway.stop()
        canaries.add("standard output", json.dumps(gateway.ready_message))
        await _fail(canaries, config, ("check", "serve", "wallet", "verify") if thorough else ("serve",))
        _add_files(canaries, folder)
        return canaries.report(_received(provider))


def _add_files(canaries: Canaries, folder: Path) -> None:
    for place, pattern in (("log", "*.log"), ("database", "gateway.db*"), ("backup", "copy*")):
        for file in folder.glob(pattern):
            canaries.add(place, file.read_bytes())


async def security_canaries(environment: StressEnvironment, *, rounds: int = 5) -> Figures:
    """The stress test: no canary is found in anything, and all that are configured were really used."""
    found = await search(environment.folder, rounds, thorough=True)
    return (
        stated("canaries", len(found.canaries)),
        at_least("... that the provider received", 4 * len(WRITTEN), found.sent),
        *(stated(f"... searched: {place}", f"{size} bytes") for place, size in sorted(found.places.items())),
        none_of("... found plain, escaped, percent-encoded or in base64", found.hits),
        stated("... found in the provider's echo in hexadecimal", len(found.hexadecimal)),
    )


def _install_adapter(folder: Path) -> dict[str, str]:
    """The environment of a process with a copy of `adapters/` that has the canary adapter."""
    copy = folder / "installed" / "adapters"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(adapters.__file__).parent, copy, ignore=ignored)
    shutil.copytree(Path(canary_adapter.__file__).parent, copy / "canary", ignore=ignored)
    return {**os.environ, "PYTHONPATH": str(copy.parent)}


@dataclass
class _Configuration:
    """Writes the file, with new canaries each time."""

    folder: Path
    canaries: Canaries
    environ: dict[str, str]
    base_url: str
    traces: str
    keys: dict[str, str] = field(default_factory=dict)
    """The callback key in use, by provider."""

    def write(self, *more: str, **extra: str) -> Path:
        """The configuration; `extra` are more keys of each provider, as TOML."""
        sections = [self._provider(written, extra) for written in WRITTEN]
        sections += ['[log]\nlevel = "debug"', f'[traces]\nendpoint = "{self.traces}"', *more]
        return configuration(self.folder, *sections)

    def _provider(self, written: str, extra: Mapping[str, str]) -> str:
        if written not in self.keys:  # what the environment holds is read at the start
            self.keys[written] = self.canaries.new(f"callback key, {written}", "-" + "k" * 20)
        keys = {
            "token": self._secret(written, "token"),
            "signing": self._secret(written, "setting"),
            "signers": f'[{{ name = "a", secret = {self._secret(written, "nested setting")} }}]',
            "callback_keys": f"[{self._secret(written, 'key', self.keys[written])}]",
            "secure_login": '"partner-1"',
            **extra,
        }
        return provider_table(written, "canary", self.base_url, **keys)

    def _secret(self, written: str, name: str, value: str = "") -> str:
        place = f"{name} {written}".replace(" ", "_").upper()
        if written == "env":
            if place not in self.environ:
                self.environ[place] = value or self.canaries.new(f"{name}, {written}")
            return f'{{ env = "{place}" }}'
        value = value or self.canaries.new(f"{name}, {written}, {secrets.token_hex(2)}")
        if written == "plain":
            return json.dumps(value)
        file = self.folder / place
        file.touch(0o600)
        file.write_text(value + "\n")
        return f'{{ file = "{place}" }}'


async def _answer(request: web.Request) -> web.StreamResponse:
    """Echo the request in every form, as the user asks."""
    body = await request.read()
    user = json.loads(body)["userId"]
    said = f"{request.raw_path} {dict(request.headers)} {body.decode()} {json.loads(body).get('token', '')}"
    encoded = b64encode(said.encode()).decode()
    echo = f"{user} {request.query.getall('key')} {said} {quote(said)} {json.dumps(said)} {encoded}"
    match user:
        case "hang":
            await asyncio.Event().wait()
        case "reset":
            assert request.transport is not None
            request.transport.abort()
        case "garbage":
            return web.Response(status=500, text=f"{echo} {said.encode().hex()}")
    answer = {"error": 56 if user == "refuse" else 0, "description": echo}
    return web.Response(text=json.dumps(answer), headers={"X-Echo": quote(said)[:4000]})


def _received(provider: ScriptedProvider) -> bytes:
    return b"".join(f"{each.path} {each.headers}".encode() + each.body for each in provider.received)


@asynccontextmanager
async def _collector(canaries: Canaries) -> AsyncIterator[str]:
    """An OTLP collector; what it receives is searched."""

    async def receive(request: web.Request) -> web.Response:
        canaries.add("traces", await request.read())
        canaries.add("traces", str(request.headers))
        return web.Response()

    runner = web.ServerRunner(web.Server(receive))  # type: ignore[arg-type]
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _call(canaries: Canaries, gateway: Serving) -> None:
    """Closes that succeed, fail, time out and hit a bug, with the configured token and with one of the caller."""
    async with grpc.aio.insecure_channel(gateway.ready_message["grpc"]) as channel:
        stub = SessionServiceStub(channel)
        await asyncio.gather(*(_close(canaries, stub, *each) for each in product(WRITTEN, USERS, (True, False))))
        for answer in [await stub.ListProviders(ListProvidersRequest())]:
            canaries.add("answers", answer.SerializeToString())


async def _close(canaries: Canaries, stub: Any, provider: str, user: str, own_token: bool) -> None:
    token = canaries.new(f"CloseSession.token, {provider}, {user}") if own_token else ""
    metadata = (("authorization", f"Bearer {canaries.new(f'authorization, {provider}, {user}', '')}"),)
    request = CloseSessionRequest(provider=provider, user_id=user, token=token, reason="canaries")
    try:
        answer = await stub.CloseSession(request, timeout=HANG_LIMIT_S if user == "hang" else 30, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        canaries.add("errors", f"{error} {error.details()} {error.trailing_metadata()}")
    else:
        canaries.add("answers", answer.SerializeToString() + str(answer).encode())


async def _call_back(canaries: Canaries, config: _Configuration, gateway: Serving, http: aiohttp.ClientSession) -> None:
    """Callbacks, right and wrong, each with separate canaries in head and body."""
    base = f"http://{gateway.ready_message['callbacks']}/callbacks"
    for provider in WRITTEN:
        ended = {"providerId": "canary", "sessionId": f"s-{provider}", "userId": "421"}
        key = config.keys[provider]
        login = {"secureLogin": canaries.new(f"secureLogin, {provider}"), "token": canaries.new(f"token, {provider}")}
        token = {"token": canaries.new(f"body token, {provider}")}
        wrong = canaries.new(f"wrong key, {provider}", "")
        deliveries: list[tuple[str, bytes]] = [
            (f"{key}/V4/SessionExpired", json.dumps({**ended, **token}).encode()),
            (f"{key}/V4/Result", result_body(f"r-{provider}", **token)),
            (f"{key}/V4/Result", result_body(f"w-{provider}", **token, secureLogin="another")),
            (f"{key}/V4/Result", json.dumps({**token, "amount": [[token]]}).encode()),
            (f"{key}/V4/Result", b"token=" + quote(token["token"]).encode()),
            (f"{key}/V4/Nothing", b"{}"),
            (f"{key}/V4/Result?token={quote(token['token'])}", b"{"),
            (f"{wrong}/V4/Result", json.dumps(login).encode()),
        ]
        headers = {"Authorization": f"Basic {canaries.new(f'callback authorization, {provider}', '')}"}
        for path, body in deliveries:
            async with http.post(f"{base}/{provider}/{path}", data=body, headers=headers) as response:
                canaries.add("replies", await response.read() + str(response.headers).encode())


async def _reload(canaries: Canaries, config: _Configuration, gateway: Serving) -> None:
    """A reload to new secrets, and bad ones: a value that the adapter refuses, a bad type, no TOML."""
    path, log = config.folder / "gateway.toml", config.folder / "gateway.log"
    for more, extra in (
        ((), {}),
        ((), {"refused": "true"}),
        ((), {"signing": f"[{json.dumps(canaries.new('setting of a wrong type'))}]"}),
        ((), {"signin": json.dumps(canaries.new("unknown key"))}),
        ((f"password = {canaries.new('no TOML', '')}",), {}),
    ):
        before = _reloads(log)
        config.write(*more, **extra)
        await _check(canaries, path, config.environ, "check")
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda seen=before: _reloads(log) > seen)  # type: ignore[misc]
    config.write()


def _reloads(log: Path) -> int:
    text = log.read_text()
    return text.count("configuration not reloaded") + text.count("configuration reloaded")


async def _observe(canaries: Canaries, gateway: Serving, http: aiohttp.ClientSession) -> None:
    """Metrics, health and events."""
    for path in ("metrics", "readyz", "healthz"):
        async with http.get(f"http://{gateway.ready_message['admin']}/{path}") as response:
            canaries.add("metrics" if path == "metrics" else "health", await response.read())
    async with grpc.aio.insecure_channel(gateway.ready_message["grpc"]) as channel:
        events = SessionServiceStub(channel).WatchEvents(WatchEventsRequest())
        with suppress(TimeoutError):
            async with asyncio.timeout(HANG_LIMIT_S):
                async for event in events:
                    canaries.add("events", event.SerializeToString())
        events.cancel()


async def _administer(canaries: Canaries, config: Path, environ: Mapping[str, str]) -> None:
    """The commands of operators, and a backup."""
    copy = config.with_name(f"copy-{secrets.token_hex(4)}.db")
    commands = (
        ("provider", "list"),
        ("provider", "history", "plain"),
        ("reconcile", "list"),
        ("reconcile", "callbacks"),
        ("reconcile", "transactions"),
        ("reconcile", "callbacks", "--json"),
        ("verify",),
        ("backup", "--to", str(copy)),
    )
    for command in commands:
        ended = await run(*command, "--config", str(config), environ=environ)
        canaries.add("commands", ended.out + ended.err)


async def _check(canaries: Canaries, config: Path, environ: Mapping[str, str], place: str) -> None:
    ended = await run("check", "--production", "--config", str(config), environ=environ)
    canaries.add(place, ended.out + ended.err)


async def _fail(canaries: Canaries, config: _Configuration, commands: Sequence[str]) -> None:
    """Files with a secret where none may be, and a database that does not answer: the commands refuse them."""
    folder = config.folder / "failing"
    folder.mkdir()
    bad = replace(config, folder=folder)
    for path in _bad_files(bad):
        for command in commands:
            ended = await run(command, "--config", str(path), environ=bad.environ)
            canaries.add(f"{command} of a bad file", ended.out + ended.err)


def _bad_files(config: _Configuration) -> Iterator[Path]:
    """Write one after the other."""
    password, user = config.canaries.new("store password", ""), config.canaries.new("userinfo", "")
    for url in (
        f"postgresql://gateway:{password}@127.0.0.1:1/gateway",
        f"postgresql://127.0.0.1:1/gateway?user=gateway&password={password}",
        f"postgresql://gateway:{password}@127.0.0.1:port/gateway",
        f"mysql://gateway:{password}@127.0.0.1/gateway",
    ):
        path = config.write()
        path.write_text(path.read_text().replace(f"sqlite:///{path.parent / 'gateway.db'}", url))
        yield path
    for url in (f"http://user:{user}@127.0.0.1:1", f"http://127.0.0.1:1/?token={user}"):
        yield replace(config, base_url=url).write()
        yield replace(config, traces=url).write()
