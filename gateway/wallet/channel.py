"""The connection to the operator's wallet: one long-lived channel that reconnects soon after an outage."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

_OPTIONS: tuple[tuple[str, int], ...] = (
    # RemoteWallet retries: it knows the provider's timeout and what may be repeated, and the library does not.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # By default the channel would reconnect only two minutes after a longer outage.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Detects a connection that was dropped silently. Only while calls are in flight: servers disconnect idle clients
    # that ping.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2000),
    # A response has five short fields.
    ("grpc.max_receive_message_length", 64 * 1024),
)


@dataclass(frozen=True, slots=True)
class ClientPem:
    """PEM texts: the authority of the wallet's certificate (the system's where None), and our certificate with its key,
    where the wallet requires one.
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
    """The system's trusted authorities: gRPC by default uses only those that it was built with (None)."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return Path(paths.cafile).read_bytes()
    hashed = sorted(Path(paths.capath).glob("*.[0-9]")) if paths.capath else ()
    return b"\n".join(file.read_bytes() for file in hashed) or None
