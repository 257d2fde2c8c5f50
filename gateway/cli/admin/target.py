"""Which gateway a command calls, and how it is reached."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from gateway.config import GrpcSettings, Listen


class TargetError(Exception):
    """The options do not say how to reach a gateway; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM texts: the authority that vouches for the gateway, and our own certificate where it demands one."""

    ca: bytes
    cert: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    server_name: str = ""
    """The name in the gateway's certificate, where it is not that of the address."""


@dataclass(frozen=True, slots=True)
class ConnectionTarget:
    """A gateway's address, and what its connection is secured with; plain where `tls` is None."""

    target: str
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What the command line says of TLS."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""


def way_to(grpc: GrpcSettings | None, target: str, options: TlsOptions) -> ConnectionTarget:
    """The way that the configuration's [grpc] section and the options describe together. Raises NoWay.

    An option goes before the section. Of a section with TLS the gateway's own certificate is trusted, and shown where
    the gateway demands one: whoever can read its key is the gateway's operator.
    """
    if (options.cert is None) != (options.key is None):
        raise TargetError("--cert and --key go together: give both")
    address = target or (_address(grpc.listen) if grpc else "")
    if not address:
        raise TargetError(
            "give --config FILE, the gateway's own configuration, or --target host:port, its gRPC address"
        )
    return ConnectionTarget(address, _tls(grpc, options))


def _address(listen: Listen) -> str:
    if not listen.port:
        raise TargetError(
            f"[grpc] listen = {str(listen)!r} takes another port at each start, which cannot be known here: "
            "give --target with the address that the gateway printed as it started"
        )
    return str(Listen(_reachable(listen.host), listen.port))


def _reachable(host: str) -> str:
    """A host to call; one that means every address of this machine stands for its loopback."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _tls(grpc: GrpcSettings | None, options: TlsOptions) -> Tls | None:
    ours = grpc.tls if grpc else None
    ca = options.ca or (ours.cert if ours else None)
    if ca is None:
        if options.cert or options.server_name:
            raise TargetError("without --ca, the authority that vouches for the gateway, there is no TLS: give it too")
        return None
    shown = (options.cert, options.key)
    if ours and ours.client_ca and options.cert is None:
        shown = (ours.cert, ours.key)
    cert, key = (_pem(file) if file else None for file in shown)
    return Tls(_pem(ca), cert, key, options.server_name)


def _pem(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TargetError(f"the file {str(file)!r} cannot be read: {error.strerror}") from None
