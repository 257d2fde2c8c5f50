"""The listeners of a server process. An address means the same for gRPC, callbacks and admin alike.

`[::]` is both IPv6 and IPv4, `0.0.0.0` is IPv4 alone, and `localhost` is both loopback addresses, whatever the system's
libraries make of them.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import MappingProxyType

from gateway.callbacks.listener import BACKLOG
from gateway.config import GrpcServerKind, GrpcSettings, Listen, UnixSocket
from gateway.rpc.server import CannotListen, RpcServer
from gateway.server.tls import Certificates

_LOOPBACKS = ("127.0.0.1", "::1")
_ANY_IPV4, _ANY = "0.0.0.0", "::"  # noqa: S104 - compared with what the configuration says

_ADVICE = MappingProxyType(
    {
        errno.EADDRINUSE: "another process listens there: stop it, or choose another port",
        errno.EACCES: "ports below 1024 need a right that the gateway's user lacks: choose a higher port",
        errno.EADDRNOTAVAIL: "this host has no such address: write one that it has, or 0.0.0.0",
    }
)


_ATTEMPTS, _PAUSE_S = 20, 0.05
"""At a port of IPv6 that another worker holds while it starts."""


async def listening_sockets(listen: Listen, section: str, *, shares_port: bool = False) -> list[socket.socket]:
    """Listen on each address; port 0 lets the system choose one for all. `section` is that of the configuration.

    `shares_port` lets other workers of this gateway listen on the same port. Raises OSError with what to do.
    """
    return await asyncio.to_thread(_listen, listen, section, shares_port)


def _listen(listen: Listen, section: str, shares_port: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        with _explained(listen, section):
            for family, host in _addresses(listen.host):
                port = sockets[0].getsockname()[1] if sockets else listen.port
                sockets.append(
                    socket.create_server(
                        (host, port),
                        family=family,
                        backlog=BACKLOG,
                        reuse_port=shares_port,
                        dualstack_ipv6=host == _ANY and socket.has_dualstack_ipv6(),
                    )
                )
                sockets[-1].setblocking(False)
    except BaseException:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def _addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """The addresses of a host. Raises OSError where it has none."""
    names = [each for each in _LOOPBACKS if _exists(each)] if host.lower() == "localhost" else [host]
    found = (
        (family, str(address[0]))
        for name in names
        for family, _, _, _, address in socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    )
    return list(dict.fromkeys(found))


def _exists(loopback: str) -> bool:
    """Whether this host has that loopback address: many containers have no IPv6."""
    with suppress(OSError), socket.create_server((loopback, 0), family=_family(loopback)):
        return True
    return False


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@contextmanager
def _explained(listen: Listen, section: str) -> Iterator[None]:
    """Raises OSError with the key, the address and what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "check the address")
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise OSError(f"[{section}] listen: cannot listen on {listen}: {reason}; {advice}") from error


async def listen_grpc(server: RpcServer, settings: GrpcSettings, certificates: Certificates) -> Listen | UnixSocket:
    """Serve at the configured address. Returns it with the chosen port. Raises CannotListen and OSError."""
    tls = certificates.for_rpc(settings, server)
    match settings.listen:
        case UnixSocket(path=path) as unix_socket:
            await server.start_on_socket(path, tls)
            return unix_socket
        case Listen(host=host) as listen:
            try:
                async with _without_ipv6(listen, settings.server) as port:
                    return Listen(host, await server.start(host, port, tls))
            except CannotListen:
                # gRPC does not say why: a socket of ours does.
                for listening in await listening_sockets(listen, "grpc"):
                    listening.close()
                raise


@asynccontextmanager
async def _without_ipv6(listen: Listen, kind: GrpcServerKind) -> AsyncIterator[int]:
    """The port to bind. grpcio takes 0.0.0.0 for both families, unless the port is taken on IPv6."""
    if listen.host != _ANY_IPV4 or kind is not GrpcServerKind.GRPCIO or not _exists("::1"):
        yield listen.port
        return
    with socket.socket(socket.AF_INET6) as held:
        held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for _ in range(_ATTEMPTS):
            try:
                held.bind((_ANY, listen.port))
            except OSError:  # another worker does the same, or another process listens there
                await asyncio.sleep(_PAUSE_S)
            else:
                break
        yield held.getsockname()[1] or listen.port
