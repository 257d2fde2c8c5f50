"""What differs between two configurations, by key path and never by value; and what of it takes a restart."""

from collections.abc import Iterator, Mapping, Set

from msgspec import Struct

from gateway.config.problems import Problem, dotted
from gateway.config.settings import Listen, Settings

_AT_RUN_TIME = (
    "grpc.default_deadline_s",
    "grpc.max_calls",
    "grpc.max_event_streams",
    "callbacks.trusted_proxies",
    "callbacks.max_body_bytes",
    "callbacks.max_connections",
    "callbacks.receive_timeout_s",
    "journal",
    "log",
    "providers",
)
"""Keys that a running gateway takes on, with all that stands below them. Any other needs what is made at the start."""


class Changes(Struct, frozen=True):
    """From one configuration to another, in the order of the settings."""

    added: tuple[str, ...] = ()
    """Names of providers that only the second one serves; a retired one is not served."""
    removed: tuple[str, ...] = ()
    """Names of providers that only the first one serves."""
    changed: tuple[str, ...] = ()
    """Paths of all other keys whose values differ."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def changes(before: Settings, after: Settings) -> Changes:
    """What differs."""
    served_before, served_after = _served(before), _served(after)
    return Changes(
        added=tuple(name for name in after.providers if name in served_after - served_before),
        removed=tuple(name for name in before.providers if name in served_before - served_after),
        changed=tuple(_different("", before, after, {f"providers.{name}" for name in served_before ^ served_after})),
    )


def takes_restart(found: Changes) -> tuple[Problem, ...]:
    """The differences that a running gateway cannot take on."""
    return tuple(
        Problem(path, "cannot change while the gateway runs: restart it, or write what stood there when it started")
        for path in found.changed
        if not any(path == known or path.startswith(f"{known}.") for known in _AT_RUN_TIME)
    )


def _served(settings: Settings) -> frozenset[str]:
    return frozenset(name for name, provider in settings.providers.items() if not provider.retired)


def _different(path: str, before: object, after: object, told: Set[str]) -> Iterator[str]:
    """The paths of what differs and is not told already; of two tables of one kind those of their keys."""
    if before == after or path in told:
        return
    match before, after:
        case Listen(), Listen():  # one key
            yield path
        case Struct(), Struct() if type(before) is type(after):
            for field in before.__struct_fields__:
                # An adapter's keys stand among the others.
                inner = path if field == "extras" else dotted(path, field)
                yield from _different(inner, getattr(before, field), getattr(after, field), told)
        case Mapping(), Mapping():
            for key in dict.fromkeys((*before, *after)):
                yield from _different(dotted(path, key), before.get(key), after.get(key), told)
        case _:
            yield path
