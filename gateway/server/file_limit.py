"""The limit of open files: raised as far as the system allows, and compared with what the configuration may need."""

import resource

import structlog

from gateway.config import Problem, Settings

log = structlog.get_logger(__name__)

_ADMIN_CONNECTIONS = 100
_BASE = 100
"""Files of the process itself: libraries, the log, the event loop, SQLite, PostgreSQL's audit, DNS queries."""


def files_needed(settings: Settings) -> int:
    """How many files are open where every limit of the configuration is reached."""
    providers = sum(provider.limits.max_concurrent_calls for provider in settings.providers.values())
    store = 0 if settings.store.is_sqlite else settings.store.pool_size
    return (
        _BASE
        + _ADMIN_CONNECTIONS
        + settings.callbacks.max_connections
        + settings.grpc.max_connections
        + providers
        + store
    )


def files_short(settings: Settings) -> tuple[Problem, ...]:
    """A warning where the system allows fewer open files than may be needed."""
    needed, (_, allowed) = files_needed(settings), resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY or needed <= allowed:
        return ()
    return (
        Problem(
            "",
            f"the limits of the configuration add up to {needed} open files, and the system allows {allowed}: raise "
            "LimitNOFILE (systemd) or ulimit -n, or lower max_connections and limits.max_concurrent_calls",
        ),
    )


def raise_file_limit(settings: Settings) -> None:
    """Raise the soft limit of open files to the hard one, and log where that is too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        log.info("limit of open files raised", before=soft, now=hard)
    for problem in files_short(settings):
        log.warning("open files may not suffice", message=problem.message)
