"""Checks: the adapter is a value made of functions that depend on nothing but their arguments."""

import re
import sys
from collections.abc import Callable, Iterator, MutableMapping
from datetime import date
from types import FrameType
from typing import Any

from adapters.conformance import source_scan
from adapters.conformance.case import Subject
from adapters.contract import Adapter, AdapterRefusal, AdapterSettings, CallbackRefused, Result, SessionExpired
from adapters.golden import Golden


def adapter_is_well_formed(subject: Subject) -> None:
    """The adapter is named as its package is, in the form of a name, and its callbacks cannot be changed."""
    adapter = subject.adapter
    for what, mend in _malformed(adapter, subject.package.rpartition(".")[2]):
        raise subject.failure(what, mend=mend)


def _malformed(adapter: Adapter[Any], package: str) -> Iterator[tuple[str, str]]:
    if adapter.name != package:
        yield f"it is called {adapter.name!r} and lives in {package!r}", "Give both the same name."
    if not re.fullmatch("[a-z][a-z0-9]*", adapter.name):
        yield f"its name is {adapter.name!r}", "Name it with lower-case letters and digits, a letter first."
    if not adapter.display_name.strip():
        yield "its display_name is empty", "Give it the name that a person knows it by."
    if not issubclass(adapter.settings, AdapterSettings):
        yield "its settings are no AdapterSettings", "Derive them from adapters.contract.AdapterSettings."
    if isinstance(adapter.callbacks, MutableMapping):
        yield "its callbacks can be changed", "Wrap them in types.MappingProxyType."
    if len({path.lower() for path in adapter.callbacks}) != len(adapter.callbacks):
        yield "two callbacks differ only in the case of their paths", "Paths are taken in any case: make them differ."
    for path, callback in adapter.callbacks.items():
        if not re.fullmatch(r"[\w-][\w.~-]*(/[\w-][\w.~-]*)*", path, re.ASCII):
            yield f"the callback path {path!r} is no plain relative path", "Write it without a leading slash."
        if callback.notification not in {SessionExpired, Result}:
            yield f"the callback {path!r} has an unknown notification", "Name the type that its decode returns."


def sources_are_pure(subject: Subject) -> None:
    """No module of the adapter imports or calls I/O, a clock, randomness, logging, threads or a stranger's package."""
    for module, source in sorted(subject.sources.items()):
        for offence in source_scan.forbidden(module, source, subject.package):
            raise subject.failure(
                f"{module} {offence}",
                mend="Take it from the arguments: the attempt is the only clock and the only randomness.",
            )


def functions_depend_on_their_arguments_alone(subject: Subject) -> None:
    """Called twice with the same arguments, each function gives the same, and asks no clock, randomness or system."""
    for golden, (name, function, arguments) in _applications(subject):
        first, _ = _watched(function, arguments)  # unjudged: what is imported late is imported now
        second, impurities = _watched(function, arguments)
        for impurity in impurities:
            raise subject.failure(
                f"{name} calls {impurity}",
                golden=golden,
                mend="Take it from the arguments: the attempt is the only clock and the only randomness.",
            )
        if first != second:
            raise subject.failure(
                f"{name} gives something else the second time",
                golden=golden,
                expected=first,
                got=second,
                mend="Let it depend on its arguments alone; keep no state between calls.",
            )


Application = tuple[str, Callable[..., object], tuple[Any, ...]]
"""A function's name, the function, and the arguments to call it with."""


def _applications(subject: Subject) -> Iterator[tuple[Golden, Application]]:
    """Every function of the adapter, with what the goldens give it."""
    for call, unsent in subject.unsent:
        yield unsent, ("encode", call.encode, (unsent.account, unsent.call, unsent.attempt))
    for call, sent in subject.sent:
        yield sent, ("encode", call.encode, (sent.account, sent.call, sent.attempt))
        yield sent, ("decode", call.decode, (sent.account, sent.reply))
    for callback, told in subject.told:
        yield told, ("verify", callback.verify, (told.account, told.request))
        yield told, ("decode", callback.decode, (told.account, told.request))
        yield told, ("encode_reply", callback.encode_reply, (told.account, told.answer))


def _watched(function: Callable[..., object], arguments: tuple[Any, ...]) -> tuple[object, list[str]]:
    """What the function gives or refuses, and which impure functions ran meanwhile."""
    impurities: list[str] = []

    def watch(frame: FrameType, event: str, called: Any) -> None:
        impurity = _impurity(frame, called if event == "c_call" else None) if event in {"call", "c_call"} else ""
        if impurity:
            impurities.append(impurity)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        result: object = function(*arguments)
    except (AdapterRefusal, CallbackRefused) as refused:
        result = (type(refused), str(refused), _plain(refused))
    finally:
        sys.setprofile(before)
    return result, impurities


def _plain(refused: Exception) -> dict[str, object]:
    """The attributes of a refusal, comparable."""
    return {name: value for name, value in vars(refused).items() if not name.startswith("__")}


IMPURE_MODULES = frozenset(
    {"_random", "_socket", "_sqlite3", "_uuid", "asyncio", "logging", "nt", "posix", "random", "secrets", "socket"}
    | {"subprocess", "threading", "time"}
)


def _impurity(frame: FrameType, builtin: Any | None) -> str:
    """The name of the function that is being called, if it is one that an adapter may not call; else ''."""
    if builtin is None:
        return _outlawed(str(frame.f_globals.get("__name__", "")), frame.f_code.co_qualname)
    owner, name = getattr(builtin, "__self__", None), str(builtin.__name__)
    if isinstance(owner, type):
        return f"{owner.__name__}.{name}" if issubclass(owner, date) and name in {"now", "today", "utcnow"} else ""
    module = str(builtin.__module__ or type(owner).__module__)
    if module in {"_io", "io"} and name in {"open", "open_code"}:
        return name
    return _outlawed(module, name)


def _outlawed(module: str, name: str) -> str:
    return f"{module}.{name}" if module.partition(".")[0] in IMPURE_MODULES else ""


CHECKS = (adapter_is_well_formed, sources_are_pure, functions_depend_on_their_arguments_alone)
