"""From the names in a configuration to adapters: the only module that knows how adapters are found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from adapters.contract import Account, Adapter, Callback, Closed, Notification, Outcome, Result, Secret, SessionExpired
from adapters.golden import CallGolden, files_of, parse
from adapters.registry import Registry, RegistryError, find
from adapters.simulation import Simulator
from gateway.app.example import Example
from gateway.config import ConfigInvalid, Problem, ProviderSettings, Settings, adapter_settings


@dataclass(frozen=True, slots=True)
class Dialect:
    """A served provider's settings with the adapter that they name, checked by what the adapter demands."""

    settings: ProviderSettings
    adapter: Adapter[Any]
    account: Account[Any]


def dialects(settings: Settings, registry: Registry | None = None) -> Mapping[str, Dialect]:
    """The providers to serve, each with its adapter. Raises ConfigInvalid with everything that does not fit."""
    registry = registry or find()
    found: dict[str, Dialect] = {}
    problems: list[Problem] = []
    for name, provider in settings.providers.items():
        if provider.retired:
            continue
        try:
            adapter = registry.load(provider.adapter)
            account = Account(name, adapter_settings(provider, adapter.settings), provider.token)
        except RegistryError as error:
            problems.append(Problem(f"providers.{name}.adapter", str(error)))
        except ConfigInvalid as invalid:
            problems.extend(invalid.problems)
        else:
            found[name] = Dialect(provider, adapter, account)
    if problems:
        raise ConfigInvalid(tuple(problems))
    return MappingProxyType(found)


def simulated(settings: Settings, name: str, registry: Registry | None = None) -> tuple[Simulator[Any], Account[Any]]:
    """The provider's side of a configured provider, for an account like ours. Raises ConfigInvalid."""
    registry = registry or find()
    if name not in settings.providers or settings.providers[name].retired:
        known = ", ".join(sorted(settings.providers)) or "none"
        raise ConfigInvalid((Problem(f"providers.{name}", f"is not configured; configured are: {known}"),))
    dialect = dialects(settings, registry)[name]
    try:
        return registry.simulator(dialect.adapter.name), dialect.account
    except RegistryError as error:
        raise ConfigInvalid((Problem(f"providers.{name}.adapter", str(error)),)) from None


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
    accepted = close.needs | close.accepts
    yield Example(
        adapter=name,
        display_name=adapter.display_name,
        settings=msgspec.to_builtins(golden.account.settings, enc_hook=_revealed),
        user_id=golden.call.user_id,
        session_id=golden.call.session_id or "demo-session",
        game_id=golden.call.game_id or "demo-game",
        closes_by_session="session_id" in close.needs,
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
