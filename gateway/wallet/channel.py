"""The connection to the operator's wallet: one long-lived channel that comes back soon after an outage."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

_OPTIONS: tuple[tuple[str, int], ...] = (
    # The wallet's own retries know the provider's patience, and what may be asked again; the library's do not.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # By default a wallet that was away for a while would be tried again after two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A connection that somebody on the way dropped silently is found out. Only while calls are under way: servers hang
    # up on idle clients that ping.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2000),
    # An answer has five short fields.
    ("grpc.max_receive_message_length", 64 * 1024),
)


@dataclass(frozen=True, slots=True)
class ClientPem:
    """PEM texts of our side: the authority that the wallet must be of (the system's where None), and our certificate
    with its key, where the wallet demands one.
    """

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None

    def __repr__(self) -> str:
        return "ClientPem(***)"


@dataclass(frozen=True, slots=True)
class WalletAddress:
    """Where the operator's wallet is, a gRPC target such as `dns:///wallet.example.com:443`; plain without `tls`."""

    target: str
    tls: ClientPem | None = None


def open_channel(address: WalletAddress) -> grpc.aio.Channel:
    """A channel of the running event loop. It connects with its first call, and must be closed before the loop ends."""
    if address.tls is None:
        return grpc.aio.insecure_channel(address.target, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=address.tls.ca or _system_authorities(),
        private_key=address.tls.key,
        certificate_chain=address.tls.cert,
    )
    return grpc.aio.secure_channel(address.target, credentials, options=_OPTIONS)


def _system_authorities() -> bytes | None:
    """What the system trusts: gRPC by itself knows only the authorities that came with it (None)."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return Path(paths.cafile).read_bytes()
    hashed = sorted(Path(paths.capath).glob("*.[0-9]")) if paths.capath else ()
    return b"\n".join(file.read_bytes() for file in hashed) or None
