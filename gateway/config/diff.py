"""What differs between two configurations, by key path and never by value, and which of it requires a restart."""

from collections.abc import Iterator, Mapping, Set

from msgspec import Struct

from gateway.config.problems import Problem, dotted
from gateway.config.settings import Listen, Settings, UnixSocket

_RELOADABLE = (
    "grpc.default_deadline_s",
    "grpc.max_calls",
    "grpc.max_event_streams",
    "grpc.max_calls_per_connection",
    "grpc.max_event_streams_per_connection",
    "callers",
    "jwt",
    "callbacks.trusted_proxies",
    "callbacks.max_body_bytes",
    "callbacks.max_connections",
    "callbacks.max_connections_per_source",
    "callbacks.receive_timeout_s",
    "journal",
    "log",
    "providers",
)
"""Keys that a reload applies, with all keys below them. The others belong to what is created at the start."""


class Changes(Struct, frozen=True):
    """The differences between two configurations, in the order of the settings."""

    added: tuple[str, ...] = ()
    """Names of providers that only the second one serves. A retired provider is not served."""
    removed: tuple[str, ...] = ()
    """Names of providers that only the first one serves."""
    changed: tuple[str, ...] = ()
    """Paths of all other keys whose values differ."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def changes(before: Settings, after: Settings) -> Changes:
    """Compare two configurations."""
    served_before, served_after = _served(before), _served(after)
    return Changes(
        added=tuple(name for name in after.providers if name in served_after - served_before),
        removed=tuple(name for name in before.providers if name in served_before - served_after),
        changed=tuple(_different("", before, after, {f"providers.{name}" for name in served_before ^ served_after})),
    )


def requires_restart(found: Changes) -> tuple[Problem, ...]:
    """The differences that a reload cannot apply."""
    return tuple(
        Problem(path, "cannot change while the gateway runs: restart it, or write the value that it started with")
        for path in found.changed
        if not any(path == known or path.startswith(f"{known}.") for known in _RELOADABLE)
    )


def _served(settings: Settings) -> frozenset[str]:
    return frozenset(name for name, provider in settings.providers.items() if not provider.retired)


def _different(path: str, before: object, after: object, skipped: Set[str]) -> Iterator[str]:
    """The paths of keys whose values differ, without those below a skipped path."""
    if before == after or path in skipped:
        return
    match before, after:
        case Listen() | UnixSocket(), Listen() | UnixSocket():  # an address is one key
            yield path
        case Struct(), Struct() if type(before) is type(after):
            for field in before.__struct_fields__:
                # An adapter's keys are keys of the provider's table.
                inner = path if field == "extras" else dotted(path, field)
                yield from _different(inner, getattr(before, field), getattr(after, field), skipped)
        case Mapping(), Mapping():
            for key in dict.fromkeys((*before, *after)):
                yield from _different(dotted(path, key), before.get(key), after.get(key), skipped)
        case _:
            yield path
