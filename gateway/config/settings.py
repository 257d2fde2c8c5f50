"""The frozen values that the configuration file becomes. No secret shows in any repr."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from types import MappingProxyType

from adapters.contract import Secret

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Listen:
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


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a listener. With `client_ca` a caller has to show a certificate of that authority."""

    cert: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """The listener for the microservices."""

    listen: Listen = Listen("127.0.0.1", 50051)
    tls: TlsFiles | None = None
    default_deadline_s: float = 10.0
    """Seconds that a call may take whose caller set no deadline."""


@dataclass(frozen=True, slots=True)
class CallbackSettings:
    """The listener for the providers."""

    listen: Listen = Listen("127.0.0.1", 8080)
    tls: TlsFiles | None = None
    trusted_proxies: tuple[Network, ...] = ()
    """Whose X-Forwarded-For is believed."""
    max_body_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """The listener for health, readiness and metrics."""

    listen: Listen = Listen("127.0.0.1", 9090)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the durable state is: `sqlite:///` and a path relative to the working folder, or an absolute one."""

    url: str = "sqlite:///gateway.db"


@dataclass(frozen=True, slots=True)
class WalletSettings:
    """Who keeps the balances; `builtin` is the ledger in the gateway's own store."""

    target: str = "builtin"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged: `debug`, `info`, `warning` or `error`."""

    level: str = "info"


@dataclass(frozen=True, slots=True)
class ProviderSettings:
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
    retired: bool = False
    extras: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """The keys that belong to the adapter, as the file gives them; `{ env = … }` and `{ file = … }` are Secrets."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration, made once by `load` and passed on from there."""

    grpc: GrpcSettings = GrpcSettings()
    callbacks: CallbackSettings = CallbackSettings()
    admin: AdminSettings = AdminSettings()
    store: StoreSettings = StoreSettings()
    wallet: WalletSettings = WalletSettings()
    log: LogSettings = LogSettings()
    providers: Mapping[str, ProviderSettings] = field(default_factory=lambda: MappingProxyType({}))
    """By name, retired ones included."""
