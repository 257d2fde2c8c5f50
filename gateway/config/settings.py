"""The frozen settings that the configuration file becomes. No repr shows a secret."""

from collections.abc import Mapping
from decimal import Decimal
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


class UnixSocket(msgspec.Struct, frozen=True):
    """A Unix domain socket to listen on. `path` is absolute."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect: always."""
        return True


class TlsFiles(msgspec.Struct, frozen=True):
    """PEM files of a listener. With `client_ca` a caller must have a certificate of that authority."""

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

    listen: Listen | UnixSocket = Listen("127.0.0.1", 50051)
    tls: TlsFiles | None = None
    default_deadline_s: float = 10.0
    """Seconds for a call whose caller set no deadline."""
    server: GrpcServerKind = GrpcServerKind.GRPCIO
    allow_anyone: bool = False
    """Whether the listener may be reached from other machines without [callers], or by the native server."""
    reflection: bool = True
    """Whether reflection lists the services."""
    max_calls: int = 1000
    """Concurrent calls, without event streams."""
    max_event_streams: int = 1000
    max_calls_per_connection: int = 500
    max_event_streams_per_connection: int = 500
    max_connections: int = 1000
    """Concurrent connections; a further one is closed at once. The native server has no maximum."""
    max_message_bytes: int = 64 * 1024
    """The largest request."""
    max_connection_age_s: float | None = None
    """Seconds until a connection is closed gracefully, so that calls spread over replicas; None for never."""


class CallerSettings(msgspec.Struct, frozen=True):
    """A caller of the gRPC services: how it is known, and what it may call."""

    certificate: str | None = None
    """A subject alternative name of its client certificate: `dns:…`, `uri:…` or `email:…`."""
    jwt_subject: str | None = None
    roles: tuple[str, ...] = ()
    """Roles, or single methods such as `SessionService/CloseSession`. Their names are validated by the server."""
    providers: tuple[str, ...] = ()
    """The only providers it may name; all if empty."""


class JwtSettings(msgspec.Struct, frozen=True):
    """The issuer whose tokens name callers, and the file with its public keys (a JWK set)."""

    issuer: str
    audience: str
    jwks_file: Path


class CallbackSettings(msgspec.Struct, frozen=True):
    """The listener for the providers."""

    listen: Listen = Listen("127.0.0.1", 8080)
    tls: TlsFiles | None = None
    trusted_proxies: tuple[Network, ...] = ()
    """Proxies whose X-Forwarded-For is used."""
    max_body_bytes: int = 64 * 1024
    max_connections: int = 1000
    """Concurrent connections. A further one replaces an unauthenticated or idle one; if all are busy, it is closed."""
    max_connections_per_source: int = 500
    """Those of one source without an authenticated request. A source is an IPv4 address or an IPv6 /64. Trusted proxies
    have no such limit.
    """
    receive_timeout_s: float = 5.0
    """Seconds to receive a request's head."""


class AdminSettings(msgspec.Struct, frozen=True):
    """The listener for health, readiness and metrics."""

    listen: Listen = Listen("127.0.0.1", 9090)


class ClientTls(msgspec.Struct, frozen=True):
    """PEM files of a client: the authority of the server's certificate (the system's where absent), and its own
    certificate and key, where the server requires them.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class StoreSettings(msgspec.Struct, frozen=True):
    """Where the durable state is.

    `url` is `sqlite:///` and a path, relative to the working folder or absolute, or `postgresql://`, which can hold a
    password.
    """

    url: Secret = msgspec.field(default_factory=lambda: Secret("sqlite:///gateway.db"))
    pool_size: int = 8
    """The maximum number of PostgreSQL connections of one gateway process."""
    tls: ClientTls | None = None
    """TLS of the connections to PostgreSQL; without it, the system's authorities and no certificate."""

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is one file, for one process."""
        return self.url.reveal().startswith("sqlite:")


class WalletSettings(msgspec.Struct, frozen=True):
    """The wallet that holds the balances: `builtin`, the ledger in the gateway's store, or a gRPC target."""

    target: str = "builtin"
    tls: ClientTls | None = None
    """TLS of the connection to the target; none where absent."""
    attempt_timeout_s: float = 1.0
    """Seconds for one ApplyResult before it is retried."""
    references_migrated: bool = False
    """The target holds every reference that the previous wallet credited."""

    @property
    def is_builtin(self) -> bool:
        """Whether balances are kept in the gateway's own store."""
        return self.target == "builtin"


class JournalSettings(msgspec.Struct, frozen=True):
    """How long the journal keeps bodies. Its facts, and those of money, are kept permanently."""

    body_retention_days: int | None = None
    """Days after which heads and bodies of exchanges are removed; None keeps them permanently."""


class LogSettings(msgspec.Struct, frozen=True):
    """What is logged: `debug`, `info`, `warning` or `error`."""

    level: str = "info"


class TracesSettings(msgspec.Struct, frozen=True):
    """Where OpenTelemetry traces are sent; without an endpoint none are."""

    endpoint: str = ""
    """The base URL of an OTLP/HTTP collector."""
    sample_ratio: float = 1.0
    """The ratio of traces to send, where the caller did not decide."""


class ProviderSettings(msgspec.Struct, frozen=True):
    """One configured account at a vendor. A retired one keeps only its name: it is not served."""

    name: str
    adapter: str = ""
    base_url: str = ""
    """Scheme, host, and a path prefix if there is one; without a slash at the end."""
    allow_plain_http: bool = False
    allow_private_addresses: bool = False
    tls: ClientTls | None = None
    """A private authority of its certificate, and our certificate, where it requires one."""
    token: Secret | None = None
    callback_keys: tuple[Secret, ...] = ()
    callback_sources: tuple[Network, ...] = ()
    """The networks that callbacks may come from; any network if empty."""
    max_amount: Mapping[str, Decimal] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    """The largest amount of one Result, by currency; a currency that is not listed has no ceiling."""
    max_amount_per_h: Mapping[str, Decimal] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    """The largest sum of an hour's Results, by currency."""
    limits: Limits = Limits()
    retry: RetryLimits = RetryLimits()
    breaker: BreakerLimits = BreakerLimits()
    retired: bool = False
    extras: Mapping[str, object] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    """The adapter's keys, as in the file; `{ env = … }` and `{ file = … }` are resolved to Secrets at any depth. Which
    plain strings are secret, only the adapter's settings type declares."""

    def __repr__(self) -> str:
        return f"ProviderSettings({self.name!r})"  # an adapter's keys can hold secrets


class Settings(msgspec.Struct, frozen=True):
    """The whole configuration, as `load` returns it."""

    grpc: GrpcSettings = GrpcSettings()
    callbacks: CallbackSettings = CallbackSettings()
    admin: AdminSettings = AdminSettings()
    store: StoreSettings = msgspec.field(default_factory=StoreSettings)
    wallet: WalletSettings = WalletSettings()
    journal: JournalSettings = JournalSettings()
    log: LogSettings = LogSettings()
    traces: TracesSettings = TracesSettings()
    callers: Mapping[str, CallerSettings] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    """By name. If there are none, everyone who can connect may call everything."""
    jwt: JwtSettings | None = None
    providers: Mapping[str, ProviderSettings] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    """By name, retired ones included."""
