"""One account and one call per adapter, taken from its goldens."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from adapters.contract import Adapter, Callback, Closed, Notification, Outcome, Result, Secret, SessionExpired
from adapters.golden import CallGolden, files_of, parse
from adapters.registry import Registry, RegistryError, find


@dataclass(frozen=True, slots=True)
class Example:
    """An adapter with the account and the call of its example."""

    adapter: str
    display_name: str
    settings: Mapping[str, object]
    """The adapter's own keys of a provider's configuration."""
    user_id: str
    session_id: str
    game_id: str
    closes_by_session: bool
    accepts_game: bool
    accepts_clear_history: bool
    expiry_path: str
    """The path of the callback for an expired session; empty if the dialect has none."""
    result_path: str
    """The path of the callback for a win; empty if the dialect has none."""


def find_examples() -> tuple[Example, ...]:
    """An example of every adapter that loads, has a simulator and can close sessions."""
    registry = find()
    return tuple(example for name in registry.names() for example in _example(registry, name))


def _example(registry: Registry, name: str) -> Iterator[Example]:
    try:
        adapter, package = registry.load(name), registry.package(name)
        registry.simulator(name)
    except RegistryError:
        return  # a broken adapter matters only to those that configure it
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
    """Goldens of a successful close; those printed in the provider's document come first."""
    goldens = [parse(file, content, adapter) for file, content in files_of(package).items()]
    closes = [
        golden
        for golden in goldens
        if isinstance(golden, CallGolden)
        and isinstance(golden.expect, Closed)
        and golden.expect.outcome is Outcome.CLOSED
    ]
    yield from sorted(closes, key=lambda golden: golden.printed is None)


def _path_of(callbacks: Mapping[str, Callback[Any, Notification]], kind: type[Notification]) -> str:
    return next((path for path, callback in callbacks.items() if callback.notification is kind), "")


def _revealed(value: object) -> object:
    """A golden's secrets are invented, so the demo's configuration may hold them."""
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"no TOML for {type(value).__name__}")
