"""The address and TLS settings of the gateway that a command calls."""

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from gateway.config import GrpcSettings, Listen, UnixSocket

UNIX_SERVER_NAME = "localhost"
"""The name in the certificate of a gateway on a Unix socket. gRPC would look for the path in it."""

_TOKEN = re.compile(rb"[!-~]+")
"""What an HTTP header can hold as one word."""


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
    """A gateway's address, its TLS settings (None for plain text), and the token to present, '' for none."""

    address: str
    tls: Tls | None = None
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """The options of the command line for TLS, and for who calls."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""
    token_file: Path | None = None


def resolve_target(grpc: GrpcSettings | None, target: str, options: TlsOptions) -> ConnectionTarget:
    """Combine the configuration's [grpc] section with the options, which override it. Raises TargetError.

    With TLS in the section, the gateway's own certificate is trusted. It is never presented: who calls is who the
    options say.
    """
    if (options.cert is None) != (options.key is None):
        raise TargetError("--cert needs --key, and --key needs --cert: give both")
    address = target or (_address(grpc.listen) if grpc else "")
    if not address:
        raise TargetError(
            "give --config FILE, the gateway's configuration, or --target, its gRPC address (host:port, or unix:/path)"
        )
    tls = _tls(grpc, options, UNIX_SERVER_NAME if address.startswith("unix:") else "")
    token = _token(options.token_file) if options.token_file else ""
    if token and tls is None and not _is_local(address):
        raise TargetError(
            f"--token-file: a token is not sent in plain text to {address}: give --ca for TLS, "
            "or call the gateway on a loopback address or a Unix socket"
        )
    return ConnectionTarget(address, tls, token)


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
    if configured and configured.client_ca and not (options.cert or options.token_file):
        raise TargetError(
            "the gateway asks its callers for a certificate ([grpc] tls, client_ca): "
            "give your own by --cert and --key, or a token by --token-file"
        )
    cert, key = (_read(file) if file else None for file in (options.cert, options.key))
    return Tls(_read(ca), cert, key, options.server_name or server_name)


def _token(file: Path) -> str:
    token = _read(file).strip()
    if not _TOKEN.fullmatch(token):
        raise TargetError(
            f"--token-file: the file {str(file)!r} does not hold one token, such as a JWT, and nothing else"
        )
    return token.decode()


def _is_local(address: str) -> bool:
    """Whether only this machine can receive what is sent there."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    return Listen(host, 0).is_loopback


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TargetError(f"the file {str(file)!r} cannot be read: {error.strerror}") from None
