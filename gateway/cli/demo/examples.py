"""What the demo plays: each dialect's account and call, as its goldens show them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from adapters.contract import Adapter, Callback, Closed, Notification, Outcome, Result, Secret, SessionExpired
from adapters.golden import CallGolden, files_of, parse
from adapters.registry import Registry, RegistryError, find


@dataclass(frozen=True, slots=True)
class Example:
    """A dialect with what its document's example says."""

    adapter: str
    display_name: str
    settings: Mapping[str, object]
    """What the adapter adds to a provider's configuration."""
    user_id: str
    session_id: str
    game_id: str
    closes_by_session: bool
    accepts_game: bool
    accepts_clear_history: bool
    expiry_path: str
    """The callback that tells of an expired session; '' where the dialect has none."""
    result_path: str
    """The callback that brings a win; '' where the dialect has none."""


def examples(registry: Registry | None = None) -> tuple[Example, ...]:
    """Every adapter that loads, has a simulator and can close sessions, with its first golden of a close."""
    registry = registry or find()
    return tuple(example for name in registry.names() for example in _example(registry, name))


def _example(registry: Registry, name: str) -> Iterator[Example]:
    try:
        adapter, package = registry.load(name), registry.package(name)
        registry.simulator(name)
    except RegistryError:
        return  # a third party's broken adapter is fatal only where it is configured
    close = adapter.close_session
    golden = next(_closes(adapter, package), None)
    if close is None or golden is None:
        return
    accepted = close.required_fields | close.optional_fields
    yield Example(
        adapter=name,
        display_name=adapter.display_name,
        settings=msgspec.to_builtins(golden.account.settings, enc_hook=_revealed),
        user_id=golden.call.user_id,
        session_id=golden.call.session_id or "demo-session",
        game_id=golden.call.game_id or "demo-game",
        closes_by_session="session_id" in close.required_fields,
        accepts_game="game_id" in accepted,
        accepts_clear_history="clear_history" in accepted,
        expiry_path=_path_of(adapter.callbacks, SessionExpired),
        result_path=_path_of(adapter.callbacks, Result),
    )


def _closes(adapter: Adapter[Any], package: str) -> Iterator[CallGolden]:
    """Goldens of a close that succeeds; those that the provider's document prints come first."""
    goldens = [parse(file, content, adapter) for file, content in files_of(package).items()]
    closes = [
        golden
        for golden in goldens
        if isinstance(golden, CallGolden)
        and isinstance(golden.expect, Closed)
        and golden.expect.outcome is Outcome.CLOSED
    ]
    yield from sorted(closes, key=lambda golden: golden.printed is None)


def _path_of(callbacks: Mapping[str, Callback[Any, Notification]], told: type[Notification]) -> str:
    return next((path for path, callback in callbacks.items() if callback.notification is told), "")


def _revealed(value: object) -> object:
    """A golden's secrets are made up, and go into the demo's own configuration."""
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"no TOML for {type(value).__name__}")
