"""The frozen values that the configuration file becomes. No secret shows in any repr."""

from collections.abc import Mapping
from enum import StrEnum, unique
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from types import MappingProxyType

import msgspec

from adapters.contract import Secret
from gateway.outbound.limits import BreakerLimits, Limits, RetryLimits

Network = IPv4Network | IPv6Network


class Listen(msgspec.Struct, frozen=True):
    """An address to listen on. Port 0 lets the system choose one. `host` is without brackets for IPv6."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


class TlsFiles(msgspec.Struct, frozen=True):
    """PEM files of a listener. With `client_ca` a caller has to show a certificate of that authority."""

    cert: Path
    key: Path
    client_ca: Path | None = None


@unique
class GrpcServerKind(StrEnum):
    """The library that serves gRPC."""

    GRPCIO = "grpcio"
    NATIVE = "native"
    """pygrpc-native, from the extra `native`: a fraction of the processor time, but no TLS and no connection limits."""


class GrpcSettings(msgspec.Struct, frozen=True):
    """The listener for the microservices."""

    listen: Listen = Listen("127.0.0.1", 50051)
    tls: TlsFiles | None = None
    default_deadline_s: float = 10.0
    """Seconds that a call may take whose caller set no deadline."""
    server: GrpcServerKind = GrpcServerKind.GRPCIO
    allow_anyone: bool = False
    """Whether the native server may listen on an address that other machines can reach."""
    max_calls: int = 1000
    """Calls under way at once; streams of events not counted."""
    max_event_streams: int = 1000
    max_message_bytes: int = 1024 * 1024
    """Of one request."""
    max_connection_age_s: float | None = None
    """Seconds after which a connection is ended gracefully, so that its calls spread anew; None for never."""


class CallbackSettings(msgspec.Struct, frozen=True):
    """The listener for the providers."""

    listen: Listen = Listen("127.0.0.1", 8080)
    tls: TlsFiles | None = None
    trusted_proxies: tuple[Network, ...] = ()
    """Whose X-Forwarded-For is believed."""
    max_body_bytes: int = 1024 * 1024
    max_connections: int = 1000
    """At once; more are closed as they come."""
    receive_timeout_s: float = 5.0
    """Seconds that a request's head may take to arrive."""


class AdminSettings(msgspec.Struct, frozen=True):
    """The listener for health, readiness and metrics."""

    listen: Listen = Listen("127.0.0.1", 9090)


class StoreSettings(msgspec.Struct, frozen=True):
    """Where the durable state is.

    `url` is `sqlite:///` and a path, relative to the working folder or absolute, or `postgresql://`, which may hold a
    password.
    """

    url: Secret = msgspec.field(default_factory=lambda: Secret("sqlite:///gateway.db"))
    pool_size: int = 8
    """Connections to PostgreSQL that one gateway process holds at the most."""

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is one file, for one process."""
        return self.url.reveal().startswith("sqlite:")


class ClientTls(msgspec.Struct, frozen=True):
    """PEM files of our side of a connection: the authority that the server must be of (the system's where absent), and
    our own certificate with its key, where the server demands one.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class WalletSettings(msgspec.Struct, frozen=True):
    """Who keeps the balances; `builtin` is the ledger in the gateway's own store, else a gRPC target."""

    target: str = "builtin"
    tls: ClientTls | None = None
    """Of the connection to the target; plain where absent."""
    attempt_timeout_s: float = 1.0
    """Seconds that one ApplyResult may take before it is tried again."""
    references_migrated: bool = False
    """It knows every reference that the wallet before it credited."""

    @property
    def is_builtin(self) -> bool:
        """Whether balances are kept in the gateway's own store."""
        return self.target == "builtin"


class JournalSettings(msgspec.Struct, frozen=True):
    """How long the journal keeps what was said. Its facts, and those of money, are kept for good."""

    body_retention_days: int | None = None
    """Days after which heads and bodies of exchanges are taken away; None keeps them for good."""


class LogSettings(msgspec.Struct, frozen=True):
    """What is logged: `debug`, `info`, `warning` or `error`."""

    level: str = "info"


class TracesSettings(msgspec.Struct, frozen=True):
    """Where OpenTelemetry's traces are sent; nowhere without an endpoint."""

    endpoint: str = ""
    """The base URL of an OTLP/HTTP collector."""
    sample_ratio: float = 1.0
    """Of the traces that no caller has decided on, the part that is told."""


class ProviderSettings(msgspec.Struct, frozen=True):
    """One configured account at a vendor. Of a retired one only the name is kept: it is not served."""

    name: str
    adapter: str = ""
    base_url: str = ""
    """Scheme, host, and a path prefix if there is one; without a slash at the end."""
    allow_plain_http: bool = False
    allow_private_addresses: bool = False
    token: Secret | None = None
    callback_keys: tuple[Secret, ...] = ()
    callback_sources: tuple[Network, ...] = ()
    """Where callbacks may come from; from everywhere if empty."""
    limits: Limits = Limits()
    retry: RetryLimits = RetryLimits()
    breaker: BreakerLimits = BreakerLimits()
    retired: bool = False
    extras: Mapping[str, object] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    """The keys that belong to the adapter, as the file gives them; `{ env = … }` and `{ file = … }` are Secrets."""

    def __repr__(self) -> str:
        return f"ProviderSettings({self.name!r})"  # nobody knows what an adapter's own keys hold


class Settings(msgspec.Struct, frozen=True):
    """The whole configuration, made once by `load` and passed on from there."""

    grpc: GrpcSettings = GrpcSettings()
    callbacks: CallbackSettings = CallbackSettings()
    admin: AdminSettings = AdminSettings()
    store: StoreSettings = msgspec.field(default_factory=StoreSettings)
    wallet: WalletSettings = WalletSettings()
    journal: JournalSettings = JournalSettings()
    log: LogSettings = LogSettings()
    traces: TracesSettings = TracesSettings()
    providers: Mapping[str, ProviderSettings] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    """By name, retired ones included."""
