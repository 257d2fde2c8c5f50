"""Adapters broken on purpose, each in one way: small variations of the made-up one, and the check that tells each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from adapters.conformance import Case
from tests.adapters.madeup import ADAPTER

GOOD = Case.of("tests.adapters.madeup")


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken adapter, the check that must fail for it, and a word of what that failure must say."""

    name: str
    case: Case
    check: str
    message: str

    def __str__(self) -> str:
        return self.name


def with_adapter(**changes: Any) -> Case:
    """The good one with another adapter value."""
    return replace(GOOD, adapter=replace(ADAPTER, **changes))


def with_call(**changes: Any) -> Case:
    """The good one with another close."""
    assert ADAPTER.close_session is not None
    return with_adapter(close_session=replace(ADAPTER.close_session, **changes))


def with_callback(path: str, **changes: Any) -> Case:
    """The good one with another callback."""
    changed = {path: replace(ADAPTER.callbacks[path], **changes)}
    return with_adapter(callbacks=MappingProxyType({**ADAPTER.callbacks, **changed}))


def with_simulator(**changes: Any) -> Case:
    """The good one with another simulator."""
    return replace(GOOD, simulator=replace(GOOD.simulator, **changes))


def with_golden(name: str, change: Callable[[str], str]) -> Case:
    """The good one with another text in one golden."""
    text = change(GOOD.golden_files[name].decode())
    return replace(GOOD, golden_files={**GOOD.golden_files, name: text.encode()})


def without_goldens(case: Case, *names: str) -> Case:
    """A case that lacks these goldens."""
    left = {name: content for name, content in case.golden_files.items() if name not in names}
    return replace(case, golden_files=left)
