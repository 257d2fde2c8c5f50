"""The address and TLS settings of the gateway that a command calls."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from gateway.config import GrpcSettings, Listen, UnixSocket

UNIX_SERVER_NAME = "localhost"
"""The name in the certificate of a gateway on a Unix socket. gRPC would look for the path in it."""


class TargetError(Exception):
    """The options do not say which gateway to call. The message says what is missing."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM texts: the authority of the gateway's certificate, and our certificate if the gateway requires one."""

    ca: bytes
    cert: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    server_name: str = ""
    """The name in the gateway's certificate, if it differs from the address."""


@dataclass(frozen=True, slots=True)
class ConnectionTarget:
    """A gateway's address, and its TLS settings; None for plain text."""

    address: str
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """The TLS options of the command line."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""


def resolve_target(grpc: GrpcSettings | None, target: str, options: TlsOptions) -> ConnectionTarget:
    """Combine the configuration's [grpc] section with the options, which override it. Raises TargetError.

    With TLS in the section, the gateway's own certificate is trusted, and it is presented if the gateway requires one:
    its key is readable by the gateway's operator only.
    """
    if (options.cert is None) != (options.key is None):
        raise TargetError("--cert needs --key, and --key needs --cert: give both")
    address = target or (_address(grpc.listen) if grpc else "")
    if not address:
        raise TargetError(
            "give --config FILE, the gateway's configuration, or --target, its gRPC address (host:port, or unix:/path)"
        )
    return ConnectionTarget(address, _tls(grpc, options, UNIX_SERVER_NAME if address.startswith("unix:") else ""))


def _address(listen: Listen | UnixSocket) -> str:
    if isinstance(listen, UnixSocket):
        return str(listen)
    if not listen.port:
        raise TargetError(
            f"[grpc] listen = {str(listen)!r} takes another port at each start: "
            "give --target with the address that the gateway printed when it started"
        )
    return str(Listen(_reachable(listen.host), listen.port))


def _reachable(host: str) -> str:
    """A host to call. For an address that means all interfaces, the loopback address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _tls(grpc: GrpcSettings | None, options: TlsOptions, server_name: str) -> Tls | None:
    configured = grpc.tls if grpc else None
    ca = options.ca or (configured.cert if configured else None)
    if ca is None:
        if options.cert or options.server_name:
            raise TargetError(
                "--cert and --server-name need TLS: give --ca, the authority of the gateway's certificate"
            )
        return None
    own = (options.cert, options.key)
    if configured and configured.client_ca and options.cert is None:
        own = (configured.cert, configured.key)
    cert, key = (_pem(file) if file else None for file in own)
    return Tls(_pem(ca), cert, key, options.server_name or server_name)


def _pem(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TargetError(f"the file {str(file)!r} cannot be read: {error.strerror}") from None
