"""A provider's name that changes its answer between look-up and connect gives no access to this host."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from unittest import mock

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from adapters.contract import HttpRequest
from gateway.outbound.client import Endpoint, ExchangeFailed, ExchangeFault, ProviderClient
from gateway.outbound.deadline import Deadline
from tests.stress.figures import Figures, exactly, none_of

NAME = "provider.example"
LOOPBACK = "127.0.0.1"
UNUSED_PUBLIC = "2d00::1"
"""A public address by its block, which no registry has given out: nothing answers there."""
CONNECT_S = 2.0
CALL_S = 30.0


@dataclass
class InternalService:
    """A service of this host, which no provider may have as its address."""

    port: int = 0
    connections: int = 0
    received: int = 0
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Rebinding:
    """What one kind of name led to."""

    kind: str
    connections: int
    received: int
    """Bytes that the internal service received."""
    unsent: bool
    """The call failed as unreachable, with nothing sent."""


async def rebinding(tls: bool = False) -> tuple[Rebinding, ...]:
    """Call a provider whose name changes its answer, once for each kind of change."""
    kinds = {
        "a public address, then loopback": _changing([UNUSED_PUBLIC], [LOOPBACK]),
        "loopback, after an earlier public answer": _changing([LOOPBACK]),
        "a public address and loopback at once": _changing([UNUSED_PUBLIC, LOOPBACK]),
        "loopback as an IPv6 address": _changing([f"::ffff:{LOOPBACK}"]),
    }
    found = [await _call(kind, names, tls) for kind, names in kinds.items()]
    with _resolving_again_to_connect():
        name = "resolved again by what connects: loopback then"
        found.append(await _call(name, _changing([UNUSED_PUBLIC], [LOOPBACK]), tls))
    return tuple(found)


async def security_outbound() -> Figures:
    """The figures of `rebinding`, plain and over TLS."""
    found = [*await rebinding(), *await rebinding(tls=True)]
    looked_up = [each for each in found if not each.kind.startswith("resolved again")]
    return (
        exactly("calls to names that change their answer", 10, len(found)),
        exactly("connections to this host", 0, sum(each.connections for each in looked_up)),
        exactly("bytes sent to this host", 0, sum(each.received for each in found)),
        none_of("calls that failed otherwise than unsent", [each.kind for each in found if not each.unsent]),
    )


async def _call(kind: str, names: Iterator[list[str]], tls: bool) -> Rebinding:
    def look_up(host: str, port: int, *_: object) -> list[AddrInfoType]:
        return [_address(each, port) for each in next(names)]

    async with _internal_service() as service:
        scheme = "https" if tls else "http"
        client = ProviderClient(Endpoint("acme", f"{scheme}://{NAME}:{service.port}", connect_timeout_s=CONNECT_S))
        await client.start()
        with mock.patch("socket.getaddrinfo", look_up):
            unsent = await _is_unsent(client)
        await client.close()
    return Rebinding(kind, service.connections, service.received, unsent)


async def _is_unsent(client: ProviderClient) -> bool:
    try:
        await client.send(HttpRequest("POST", "/close", body=b"{}"), Deadline.after(CALL_S))
    except ExchangeFailed as failed:
        return failed.fault is ExchangeFault.UNREACHABLE and not failed.sent
    return False


def _changing(*answers: list[str]) -> Iterator[list[str]]:
    """The answers of a name, one after the other; the last one stays."""
    yield from answers
    while True:
        yield answers[-1]


def _address(address: str, port: int) -> AddrInfoType:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, 0, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))


@contextmanager
def _resolving_again_to_connect() -> Iterator[None]:
    """Connect as a client does that resolves the name a second time: after the check of the first answer."""
    connect = aiohappyeyeballs.start_connection

    async def look_up_and_connect(addresses: Sequence[AddrInfoType], happy_eyeballs_delay: float) -> socket.socket:
        port = addresses[0][4][1]
        return await connect(socket.getaddrinfo(NAME, port), happy_eyeballs_delay=happy_eyeballs_delay)

    with mock.patch("aiohappyeyeballs.start_connection", look_up_and_connect):
        yield


@asynccontextmanager
async def _internal_service() -> AsyncIterator[InternalService]:
    """It counts what reaches it. At the end it has read all that was sent."""
    service = InternalService()
    serving: list[asyncio.Task[None]] = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            service.received += len(data)
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        service.connections += 1
        serving.append(asyncio.create_task(count(reader, writer)))

    server = await asyncio.start_server(accept, LOOPBACK, 0)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
        await _connection_of_our_own(service)
        await asyncio.gather(*serving)
    finally:
        server.close()
        await server.wait_closed()


async def _connection_of_our_own(service: InternalService) -> None:
    """Connect after all others, so that none is still waiting to be accepted. It is not counted."""
    before = service.connections
    _, writer = await asyncio.open_connection(LOOPBACK, service.port)
    writer.close()
    await writer.wait_closed()
    while service.connections == before:  # noqa: ASYNC110 - turns of the loop, not time
        await asyncio.sleep(0)
    service.connections -= 1
