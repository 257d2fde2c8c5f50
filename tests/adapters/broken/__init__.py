"""Broken adapters: each varies the example adapter in one place, and names the check that must fail for it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from adapters.conformance import Case
from tests.adapters.example import ADAPTER

GOOD = Case.of("tests.adapters.example")


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken adapter, the check that must fail for it, and a part of that failure's message."""

    name: str
    case: Case
    check: str
    message: str

    def __str__(self) -> str:
        return self.name


def with_adapter(**changes: Any) -> Case:
    """The example with another adapter value."""
    return replace(GOOD, adapter=replace(ADAPTER, **changes))


def with_call(**changes: Any) -> Case:
    """The example with another close."""
    assert ADAPTER.close_session is not None
    return with_adapter(close_session=replace(ADAPTER.close_session, **changes))


def with_callback(path: str, **changes: Any) -> Case:
    """The example with another callback."""
    changed = {path: replace(ADAPTER.callbacks[path], **changes)}
    return with_adapter(callbacks=MappingProxyType({**ADAPTER.callbacks, **changed}))


def with_simulator(**changes: Any) -> Case:
    """The example with another simulator."""
    return replace(GOOD, simulator=replace(GOOD.simulator, **changes))


def with_golden(name: str, change: Callable[[str], str]) -> Case:
    """The example with another text in one golden."""
    text = change(GOOD.golden_files[name].decode())
    return replace(GOOD, golden_files={**GOOD.golden_files, name: text.encode()})


def without_goldens(case: Case, *names: str) -> Case:
    """The case without these goldens."""
    left = {name: content for name, content in case.golden_files.items() if name not in names}
    return replace(case, golden_files=left)
