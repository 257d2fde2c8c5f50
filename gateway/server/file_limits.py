"""Open files: the limit of this process, what the configured limits need of it, and what fits.

Each connection takes one. `docs/operations.md` has the same table.
"""

import resource
from contextlib import suppress
from types import MappingProxyType

import msgspec
import structlog
from msgspec.structs import replace

from gateway.config import Problem, ProviderSettings, Settings
from gateway.telemetry.admin import CONNECTIONS as ADMIN_CONNECTIONS

log = structlog.get_logger(__name__)

PROCESS_FILES = 64
"""Libraries, event loop, listeners, the SQLite database, log, name resolution, the wallet's and the collector's
connections: some 45 when idle.
"""

ADMIN_FILES = 16
"""Of the connections for health and metrics, those that are kept free."""

STORE_FILES = 8
"""Connections to PostgreSQL besides the pool: writes, sequencer, notifications, checks."""

MIN_CONNECTIONS = 8
"""Of callbacks, and of gRPC, whatever the limit is."""

MIN_CALLS = 2
"""In flight at one provider, and callbacks of it, whatever the limit is."""

_ADVICE = (
    "raise the hard limit (LimitNOFILE=65536 of systemd, --ulimit nofile of a container, ulimit -Hn), or lower "
    "callbacks.max_connections, grpc.max_connections and providers.….limits.max_concurrent_calls"
)


class FileNeeds(msgspec.Struct, frozen=True):
    """The open files that one process needs where every configured limit is reached."""

    process: int = PROCESS_FILES
    admin: int = ADMIN_CONNECTIONS
    store: int = 0
    callbacks: int = 0
    """Twice `max_connections`: an evicted connection stays open for up to 3 s."""
    grpc: int = 0
    providers: int = 0

    @property
    def connections(self) -> int:
        """Those that other hosts or calls take."""
        return self.callbacks + self.grpc + self.providers

    @property
    def kept(self) -> int:
        """Those that stay free for the process itself, its store, and health and metrics."""
        return self.process + ADMIN_FILES + self.store

    @property
    def total(self) -> int:
        """All."""
        return self.process + self.admin + self.store + self.connections

    def __str__(self) -> str:
        return ", ".join(f"{name} {getattr(self, name)}" for name in self.__struct_fields__)


def file_needs(settings: Settings) -> FileNeeds:
    """What the configured limits add up to, for one process."""
    served = [provider for provider in settings.providers.values() if not provider.retired]
    return FileNeeds(
        store=0 if settings.store.is_sqlite else settings.store.pool_size + STORE_FILES,
        callbacks=2 * settings.callbacks.max_connections,
        grpc=settings.grpc.max_connections,
        providers=sum(provider.limits.max_concurrent_calls for provider in served),
    )


def file_limit(*, hard: bool = False) -> int:
    """The number of files that this process may have open; with `hard`, after `raise_file_limit`."""
    found = resource.getrlimit(resource.RLIMIT_NOFILE)[1 if hard else 0]
    return 2**31 if found == resource.RLIM_INFINITY else found


def raise_file_limit() -> None:
    """Raise the soft limit of this process, and of those that it starts, to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems have a maximum below an unlimited hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def too_few_files(settings: Settings, limit: int) -> tuple[Problem, ...]:
    """That the configured limits need more files than the limit, with the numbers, and what to do."""
    needs = file_needs(settings)
    if needs.total <= limit:
        return ()
    fitted = fit_limits(settings, limit)
    return (
        Problem(
            "",
            f"the configured limits need {needs.total} open files ({needs}), and a process may open {limit}: "
            f"callbacks are served on {fitted.callbacks.max_connections} connections, gRPC on "
            f"{fitted.grpc.max_connections}, and calls to providers use {file_needs(fitted).providers}; {_ADVICE}",
        ),
    )


def log_too_few_files(settings: Settings) -> None:
    """Log the warning of `too_few_files`."""
    for problem in too_few_files(settings, file_limit()):
        log.warning("file limit too low", limit=file_limit(), needed=file_needs(settings).total, error=problem.message)


def fit_limits(settings: Settings, limit: int | None = None) -> Settings:
    """The settings that this process serves with: where their limits on connections need more files than there are,
    each gets the same part of what the process itself, the store, health and metrics leave.

    So a flood of one kind takes no file of another.
    """
    limit = file_limit() if limit is None else limit
    needs = file_needs(settings)
    if needs.total <= limit:
        return settings
    part = max(0, limit - needs.kept) / needs.connections

    def fit_provider(provider: ProviderSettings) -> ProviderSettings:
        limits = provider.limits
        calls = _fitted(limits.max_concurrent_calls, part, MIN_CALLS)
        # As before, one provider's callbacks do not take all connections.
        of_callbacks = _fitted(limits.max_concurrent_callbacks, part, MIN_CALLS)
        limits = replace(limits, max_concurrent_calls=calls, max_concurrent_callbacks=of_callbacks)
        return replace(provider, limits=limits)

    callbacks, grpc = settings.callbacks, settings.grpc
    return replace(
        settings,
        callbacks=replace(callbacks, max_connections=_fitted(callbacks.max_connections, part, MIN_CONNECTIONS)),
        grpc=replace(grpc, max_connections=_fitted(grpc.max_connections, part, MIN_CONNECTIONS)),
        providers=MappingProxyType({name: fit_provider(each) for name, each in settings.providers.items()}),
    )


def _fitted(configured: int, part: float, at_least: int) -> int:
    return min(configured, max(at_least, int(configured * part)))
