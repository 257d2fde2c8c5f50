"""Checks: the adapter is a constant value, and its functions depend on their arguments only."""

import gc
import re
import sys
from collections.abc import Callable, Iterator, MutableMapping
from datetime import date
from types import FrameType
from typing import Any

from adapters.conformance import source_scan
from adapters.conformance.case import Case, result_of
from adapters.contract import Adapter, AdapterRefusal, AdapterSettings, CallbackRefused, Result, SessionExpired
from adapters.golden import Golden

_USE_ARGUMENTS = "Take the value from the arguments: the attempt is the only clock and the only randomness."


def adapter_is_well_formed(case: Case) -> None:
    """The adapter has the name of its package, its callback paths are plain and distinct, and it cannot be changed."""
    for what, fix in _malformed(case.adapter, case.package.rpartition(".")[2]):
        raise case.failure(what, fix=fix)


def _malformed(adapter: Adapter[Any], package: str) -> Iterator[tuple[str, str]]:
    if adapter.name != package:
        yield f"its name is {adapter.name!r} and its package is {package!r}", "Give both the same name."
    if not re.fullmatch("[a-z][a-z0-9]*", adapter.name):
        yield f"its name is {adapter.name!r}", "Use lower-case letters and digits, a letter first."
    if not adapter.display_name.strip():
        yield "its display_name is empty", "Set the provider's name as operators write it."
    if not issubclass(adapter.settings, AdapterSettings):
        yield "its settings are no AdapterSettings", "Derive them from adapters.contract.AdapterSettings."
    if isinstance(adapter.callbacks, MutableMapping):
        yield "its callbacks can be changed", "Wrap them in types.MappingProxyType."
    if len({path.lower() for path in adapter.callbacks}) != len(adapter.callbacks):
        yield "two callbacks differ only in the case of their paths", "Paths ignore case: make them differ."
    for path, callback in adapter.callbacks.items():
        if not re.fullmatch(r"[\w-][\w.~-]*(/[\w-][\w.~-]*)*", path, re.ASCII):
            yield f"the callback path {path!r} is no plain relative path", "Write it without a leading slash."
        if callback.notification not in {SessionExpired, Result}:
            yield f"the callback {path!r} has an unknown notification", "Set the type that its decode returns."


def sources_are_pure(case: Case) -> None:
    """No module of the adapter uses I/O, a clock, randomness, logging, threads or another distribution's packages."""
    for module, source in sorted(case.sources.items()):
        for violation in source_scan.forbidden(module, source, case.package):
            raise case.failure(f"{module} {violation}", fix=_USE_ARGUMENTS)


def functions_depend_on_arguments_only(case: Case) -> None:
    """With the same arguments each function gives the same result, and calls no clock, randomness or system."""
    for golden, name, function, arguments in _applications(case):
        first, _ = _watched(function, arguments)  # the first call may import modules, so its calls are not checked
        second, impurities = _watched(function, arguments)
        for impurity in impurities:
            raise case.failure(f"{name} calls {impurity}", golden=golden, fix=_USE_ARGUMENTS)
        if first != second:
            raise case.failure(
                f"{name} gives another result the second time",
                golden=golden,
                expected=first,
                got=second,
                fix="Keep no state between calls.",
            )


def _applications(case: Case) -> Iterator[tuple[Golden, str, Callable[..., object], tuple[Any, ...]]]:
    """Every function of the adapter with its name, and the arguments that a golden gives it."""
    for call, unsent in case.unsent:
        yield unsent, "encode", call.encode, (unsent.account, unsent.call, unsent.attempt)
    for call, sent in case.sent:
        yield sent, "encode", call.encode, (sent.account, sent.call, sent.attempt)
        yield sent, "decode", call.decode, (sent.account, sent.reply)
    for callback, golden in case.callbacks:
        yield golden, "verify", callback.verify, (golden.account, golden.request)
        yield golden, "decode", callback.decode, (golden.account, golden.request)
        yield golden, "encode_reply", callback.encode_reply, (golden.account, golden.answer)


def _watched(function: Callable[..., object], arguments: tuple[Any, ...]) -> tuple[object, list[str]]:
    """What the function returns or refuses, in a comparable form, and which impure functions it called."""
    impurities: list[str] = []

    def watch(frame: FrameType, event: str, called: Any) -> None:
        impurity = _impurity(frame, called if event == "c_call" else None) if event in {"call", "c_call"} else ""
        if impurity:
            impurities.append(impurity)

    before, collecting = sys.getprofile(), gc.isenabled()
    gc.disable()  # hypothesis reads a clock in its callback of the garbage collector
    sys.setprofile(watch)
    try:
        result = result_of(function, *arguments)
    finally:
        sys.setprofile(before)
        if collecting:
            gc.enable()
    if isinstance(result, AdapterRefusal | CallbackRefused):
        attributes = {name: value for name, value in vars(result).items() if not name.startswith("__")}
        return (type(result), str(result), attributes), impurities
    return result, impurities


IMPURE_MODULES = frozenset(
    {"_random", "_socket", "_sqlite3", "_uuid", "asyncio", "logging", "nt", "posix", "random", "secrets", "socket"}
    | {"subprocess", "threading", "time"}
)


def _impurity(frame: FrameType, builtin: Any | None) -> str:
    """The name of the called function, if an adapter may not call it; else ''."""
    if builtin is None:
        return _forbidden_name(str(frame.f_globals.get("__name__", "")), frame.f_code.co_qualname)
    owner, name = getattr(builtin, "__self__", None), str(builtin.__name__)
    if isinstance(owner, type):
        return f"{owner.__name__}.{name}" if issubclass(owner, date) and name in {"now", "today", "utcnow"} else ""
    module = str(builtin.__module__ or type(owner).__module__)
    if module in {"_io", "io"} and name in {"open", "open_code"}:
        return name
    return _forbidden_name(module, name)


def _forbidden_name(module: str, name: str) -> str:
    return f"{module}.{name}" if module.partition(".")[0] in IMPURE_MODULES else ""


CHECKS = (adapter_is_well_formed, sources_are_pure, functions_depend_on_arguments_only)
