"""HTTP clients side by side: what an exchange costs the processor, and whether a failure says what left us.

`python -m bench.clients`, with pyreqwest and pyqwest installed beside the gateway's own needs; what is not installed is
left out. Clients take turns; the figures are medians.
"""

import argparse
import asyncio
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import trustme
import uvloop

from adapters.contract import HttpRequest
from gateway.outbound.client import Endpoint, ExchangeFailed, ProviderClient
from gateway.outbound.connection_pool import tls_context
from gateway.outbound.deadline import Deadline
from tests.gateway.outbound.harness import free_port, full_backlog
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider

PATH = "/IntegrationService/v3/http/SessionAPI/session/close"
HEADERS = {"Authorization": "Basic c951985e404309115", "Content-Type": "application/json"}
BODY = b'{"requestContent":{"secureLogin":"partner-1","userId":"player-1","sessionId":"2f7a90c1"}}'
ANSWER = b'{"error":"0","description":"Success"}'
REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Date: Sat, 21 Nov 2026 10:00:00 GMT\r\nServer: provider\r\n\r\n%s" % (len(ANSWER), ANSWER)
)
DEADLINE_S = 10.0
Ask = Callable[[], Awaitable[bytes]]


# --- The clients, each as lean as it can be used with a deadline ------------------------------------------------------


@asynccontextmanager
async def ours(base_url: str, authority: bytes, seconds: float) -> AsyncIterator[Ask]:
    """gateway.outbound."""
    tls_context().load_verify_locations(cadata=authority.decode())
    client = ProviderClient(Endpoint("bench", base_url, allow_private_addresses=True, connect_timeout_s=DEADLINE_S))
    request = HttpRequest("POST", PATH, headers=tuple(HEADERS.items()), body=BODY)
    await client.start()

    async def ask() -> bytes:
        return (await client.send(request, Deadline.after(seconds))).body

    yield ask
    await client.close()


@asynccontextmanager
async def of_aiohttp(base_url: str, authority: bytes, seconds: float) -> AsyncIterator[Ask]:
    """aiohttp, with all that it does by itself and that is not wanted switched off."""
    aiohttp: Any = import_module("aiohttp")
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=authority.decode())),
        timeout=aiohttp.ClientTimeout(total=seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept"),
        auto_decompress=False,
    )

    async def ask() -> bytes:
        async with session.post(base_url + PATH, headers=HEADERS, data=BODY, allow_redirects=False) as response:
            body: bytes = await response.read()
            return body

    async with session:
        yield ask


@asynccontextmanager
async def of_pyreqwest(base_url: str, authority: bytes, seconds: float) -> AsyncIterator[Ask]:
    """pyreqwest."""
    builder: Any = import_module("pyreqwest.client").ClientBuilder()
    client = (
        builder.add_root_certificate_pem(authority).timeout(timedelta(seconds=seconds)).no_proxy().http1_only().build()
    )

    async def ask() -> bytes:
        response = await client.post(base_url + PATH).headers(HEADERS).body_bytes(BODY).build().send()
        return bytes(await response.bytes())

    async with client:
        yield ask


@asynccontextmanager
async def of_pyqwest(base_url: str, authority: bytes, seconds: float) -> AsyncIterator[Ask]:
    """pyqwest."""
    pyqwest: Any = import_module("pyqwest")
    transport = pyqwest.HTTPTransport(
        tls_ca_cert=authority,
        http_version=pyqwest.HTTPVersion.HTTP1,
        timeout=seconds,
        pool_max_idle_per_host=100,
        use_system_dns=True,
        follow_redirects=False,
        enable_otel=False,
    )
    client = pyqwest.Client(transport)

    async def ask() -> bytes:
        return bytes((await client.post(base_url + PATH, HEADERS, BODY)).content)

    async with transport:
        yield ask


@dataclass(frozen=True)
class Candidate:
    """One of the clients, and what has to be installed for it."""

    name: str
    use: Callable[[str, bytes, float], AbstractAsyncContextManager[Ask]]
    packages: tuple[str, ...]

    def megabytes(self) -> float:
        """The size of what it is made of, as installed."""
        files = [file for package in self.packages for file in metadata.files(package) or ()]
        return sum(Path(file.locate()).stat().st_size for file in files if Path(file.locate()).exists()) / 1e6


CANDIDATES = (
    Candidate("ours", ours, ("httptools", "aiohappyeyeballs")),
    Candidate(
        "aiohttp",
        of_aiohttp,
        ("aiohttp", "aiohappyeyeballs", "aiosignal", "attrs", "frozenlist", "multidict", "propcache", "yarl"),
    ),
    Candidate("pyreqwest", of_pyreqwest, ("pyreqwest",)),
    Candidate("pyqwest", of_pyqwest, ("pyqwest", "opentelemetry-api", "typing_extensions")),
)


# --- What an exchange costs -------------------------------------------------------------------------------------------


class _Provider(asyncio.Protocol):
    """Answers each piece that comes, without looking at it: the requests here come in one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write: Callable[[bytes], None] = transport.write  # type: ignore[attr-defined] # uvloop has its own class

    def data_received(self, data: bytes) -> None:
        self._write(REPLY)


async def provide(certificate: str) -> None:
    """Answer on a free port until killed; over TLS where there is a certificate."""
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(_Provider, "127.0.0.1", 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def provider(certificate: Path | None) -> Iterator[str]:
    """The base URL of a provider in a process of its own."""
    # Its own process, so that what it costs is not counted.
    command = [sys.executable, "-m", "bench.clients", "--provide", str(certificate or "")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            yield f"https://localhost:{port}" if certificate else f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@dataclass
class Cost:
    """Of one client over one kind of connection, a figure for each round."""

    processor_us: list[float] = field(default_factory=list)
    calls_per_s: list[float] = field(default_factory=list)


async def _round(ask: Ask, calls: int, at_once: int, cost: Cost) -> None:
    async def some() -> None:
        for _ in range(calls // at_once):
            answered = await ask()
            assert answered == ANSWER

    begun, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(some() for _ in range(at_once)))
    cost.processor_us.append((time.process_time() - used) / calls * 1e6)  # of all threads
    cost.calls_per_s.append(calls / (time.perf_counter() - begun))


async def measure(
    candidates: list[Candidate], base_url: str, authority: bytes, *, rounds: int, calls: int, at_once: int
) -> dict[str, Cost]:
    """Each client in turn, again and again; the first round warms up."""
    costs = {candidate.name: Cost() for candidate in candidates}
    for number in range(rounds + 1):
        for candidate in candidates:
            async with candidate.use(base_url, authority, DEADLINE_S) as ask:
                await asyncio.gather(*(ask() for _ in range(at_once)))
                await _round(ask, calls, at_once, Cost() if number == 0 else costs[candidate.name])
    return costs


# --- What a failure says ----------------------------------------------------------------------------------------------


async def _hangs(peer: Peer) -> None:
    await peer.request()
    await peer.hang()


async def _hangs_up(peer: Peer) -> None:
    await peer.request()


async def _hangs_up_later(peer: Peer) -> None:
    await peer.request()
    await peer.send(answer())
    await peer.request()


async def _told(candidate: Candidate, base_url: str, authority: bytes, before: int = 0) -> str:
    """What the client raises at the last of its exchanges."""
    async with candidate.use(base_url, authority, 0.5) as ask:
        try:
            for _ in range(before + 1):
                await ask()
        except ExchangeFailed as failed:
            return f"{failed.fault}, sent={failed.sent}"
        except Exception as error:  # noqa: BLE001 - what it is, is the question
            return type(error).__name__
    return "an answer"


async def failures(candidate: Candidate, authority: bytes) -> dict[str, str]:
    """What the client says of failures before and after sending, and how often the provider was asked."""
    told = {"closed port": await _told(candidate, f"http://127.0.0.1:{free_port()}", authority)}
    async with full_backlog() as port:
        told["deadline while connecting"] = await _told(candidate, f"http://127.0.0.1:{port}", authority)
    for name, behaviour, before in (
        ("deadline while waiting for the answer", _hangs, 0),
        ("closed unanswered", _hangs_up, 0),
        ("closed unanswered, kept connection", _hangs_up_later, 1),
    ):
        async with raw_provider(behaviour) as provided:
            said = await _told(candidate, provided.base_url, authority, before)
            told[name] = f"{said}; asked {len(provided.requests) - before} x"
    return told


# ----------------------------------------------------------------------------------------------------------------------


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provide", metavar="CERTIFICATE", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=8000)
    parser.add_argument("--at-once", type=int, default=64)
    options = parser.parse_args()
    if options.provide is not None:
        uvloop.run(provide(options.provide))
        return
    candidates = [each for each in CANDIDATES if find_spec(each.name) or each.name == "ours"]
    for missing in set(CANDIDATES) - set(candidates):
        print(f"{missing.name} is not installed, and left out")
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder, "certificate.pem")
        trust = trustme.CA()
        authority = trust.cert_pem.bytes()
        trust.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
        for kind, proof in (("plain", None), ("TLS", certificate)):
            with provider(proof) as base_url:
                _print_costs(kind, candidates, base_url, authority, options)
        for candidate in candidates:
            print(f"\n{candidate.name}")
            for what, said in uvloop.run(failures(candidate, authority)).items():
                print(f"  {what:40}{said}")


def _print_costs(
    kind: str, candidates: list[Candidate], base_url: str, authority: bytes, options: argparse.Namespace
) -> None:
    bounds = {"rounds": options.rounds, "calls": options.calls, "at_once": options.at_once}
    costs = uvloop.run(measure(candidates, base_url, authority, **bounds))
    first = statistics.median(costs[candidates[0].name].processor_us)
    print(f"\n{kind:12}{'processor µs/call':>18}{'ratio':>8}{'calls/s':>10}{'MB':>7}")
    for candidate in candidates:
        cost = costs[candidate.name]
        used = statistics.median(cost.processor_us)
        rate = statistics.median(cost.calls_per_s)
        print(f"{candidate.name:12}{used:18.1f}{used / first:8.2f}{rate:10.0f}{candidate.megabytes():7.1f}")


if __name__ == "__main__":
    main()
