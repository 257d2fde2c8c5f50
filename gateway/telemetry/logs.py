"""The log: one line of JSON for each event, without secrets.

JSON escapes line breaks and ESC, so that no caller can forge a line or control a terminal. Tracebacks are without
locals. Lines that libraries log through the standard library are rendered and masked in the same way.
"""

import json
import logging
import os
import socket
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache, partial
from math import isfinite
from time import time_ns
from types import MappingProxyType
from typing import TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from adapters.contract import Secret, SensitiveFields
from gateway.masking.by_value import KnownSecrets
from gateway.masking.mask import Mask
from gateway.masking.ranges import MASK
from gateway.telemetry.log_writer import LEVELS, LogWriter

_BOUND: ContextVar[Mapping[str, object]] = ContextVar("bound", default=MappingProxyType({}))


def bind(**fields: object) -> None:
    """`bind(request_id=…, provider=…)`: add fields to every later line of this task and of the tasks it starts.

    All fields are in one context variable: structlog has one for each field, and reads all of them for each line.
    """
    _BOUND.set({**_BOUND.get(), **fields})


bound = _BOUND.get
"""Return the fields that this task has bound."""

_SECRET_WORDS = ("authorization", "callback_key", "cookie", "credential", "password", "secret", "token")
"""The value of a key that contains one of these words is masked."""

_SECRET_FIELDS = frozenset({"authorization", "callback_key", "callback_keys", "password", "secret", "token"})
"""Names of fields whose values are masked inside text."""

_PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types that JSON has and that contain no other values."""

_LEVEL_NAMES = {"warn": "warning", "exception": "error"}

_Logger = type("_Logger", (structlog.make_filtering_bound_logger(logging.INFO),), {})
"""The class of all loggers. Its base class, which `set_level` replaces, drops lines below the level."""

_MAX_DEPTH = 16
_MASK = MASK.decode()


def configure(
    level: str, secrets: Iterable[Secret] | KnownSecrets, stream: TextIO | None = None, *, worker: int | None = None
) -> None:
    """Write lines at `level` and above to `stream` (standard error by default) and nowhere else.

    `secrets` are masked in every line. `worker` is the number of this process among several. Raises ValueError for an
    unknown level.
    """
    enrich: list[Processor] = [_enrich]
    rendered = Rendered(secrets)
    handler = _Handler(stream or sys.stderr)
    if worker is not None:
        _SOURCE["worker"] = worker
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=enrich,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, rendered],
        )
    )
    root = logging.getLogger()
    for before in root.handlers:
        if isinstance(before, _Handler):
            before.close()
    root.handlers[:] = [handler]  # another handler would write the same lines unmasked
    logging.captureWarnings(True)
    set_level(level)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)  # its lines hold callback keys, wrong ones too
    # The gateway's own lines bypass the standard library, which costs more than the rest of a line.
    structlog.configure(
        processors=[*enrich, rendered],
        wrapper_class=_Logger,
        logger_factory=partial(_Lines, handler.writer),
    )


def set_level(level: str) -> None:
    """Write lines at this level and above from now on. Raises ValueError for an unknown level."""
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None:
        raise ValueError(f"log level {level!r} is not one of debug, info, warning, error, critical")
    logging.getLogger().setLevel(threshold)
    _Logger.__bases__ = (structlog.make_filtering_bound_logger(threshold),)


def flush() -> bool:
    """Wait until the lines are written, a second at most; False where they are not."""
    return all(handler.writer.flush() for handler in _handlers())


def dropped_lines() -> Mapping[str, int]:
    """How many lines of each level were not written, because nothing read them, since the log was configured."""
    return next((handler.writer.dropped for handler in _handlers()), dict.fromkeys(LEVELS, 0))


def _handlers() -> list["_Handler"]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _Handler)]


class _Lines:
    """The structlog logger that writes rendered lines."""

    def __init__(self, writer: LogWriter, name: str = "") -> None:
        self.name = name
        self.debug = partial(writer.put, "debug")
        self.info = self.msg = partial(writer.put, "info")
        self.warning = partial(writer.put, "warning")
        self.error = self.exception = partial(writer.put, "error")
        self.critical = partial(writer.put, "critical")


class Rendered:
    """The last processor: renders an event as a masked line of JSON.

    A line of plain values that cannot hold a secret is encoded directly. Any other line is masked value by value,
    which costs many times as much.
    """

    def __init__(self, secrets: Iterable[Secret] | KnownSecrets) -> None:
        self._mask = Mask(SensitiveFields(fields=_SECRET_FIELDS), secrets)
        self._mask_values = MaskSecrets(self._mask)
        self._encode = msgspec.json.Encoder().encode

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        """Return the line, without a line break."""
        if _PLAIN.issuperset(map(type, event.values())) and not _any_secret(tuple(event)):
            try:
                line = self._encode(event)
            except (ValueError, OverflowError):  # a lone surrogate, or a number beyond 64 bits
                pass
            else:
                if self._mask.is_clean(line):
                    return line.decode()
        return json.dumps(self._mask_values(logger, method, event))


class MaskSecrets:
    """Masks by key and by value at any depth, and converts everything to plain values."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Return the masked event."""
        return {str(key): self._masked(str(key), value, 0) for key, value in event.items()}

    def _masked(self, key: str, value: object, depth: int) -> object:
        if _is_secret(key) and value is not None:
            return _MASK
        match value:
            case None | bool():
                return value
            case int() | float() if isfinite(value) and self._mask.text(str(value)) == str(value):
                return value
            case Mapping() if depth < _MAX_DEPTH:
                return {
                    self._mask.text(str(name)): self._masked(str(name), inner, depth + 1)
                    for name, inner in value.items()
                }
            case list() | tuple() | set() | frozenset() if depth < _MAX_DEPTH:
                return [self._masked("", inner, depth + 1) for inner in value]
            case _:
                return self._text(value)

    def _text(self, value: object) -> str:
        match value:
            case bytes() | bytearray() | memoryview():
                return self._mask.body(bytes(value)).decode("utf-8", "backslashreplace")
            case Mapping() | list() | tuple() | set() | frozenset():
                return "..."
            case _:
                return self._mask.text(str(value))


class _Handler(logging.Handler):
    """Passes lines on to the writer. A line that cannot be rendered is reported without its content."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.writer = LogWriter(stream, _notice)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line of a library."""
        level = record.levelname.lower()
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a line that cannot be formatted is lost, and nothing else
            level = "error"
            line = _line(f"a log line of {record.module} was lost: {type(error).__name__}", level)
        self.writer.put(level, line)

    def flush(self) -> None:
        """Wait for the writer, but not for long. logging calls it at exit."""
        self.writer.flush()

    def close(self) -> None:
        """Write what waits, and write no more."""
        self.writer.close()
        super().close()


def _notice(dropped: Mapping[str, int]) -> str:
    return _line("log lines were dropped: they were not read in time", "warning", dropped=dict(dropped))


def _line(event: str, level: str, **fields: object) -> str:
    return json.dumps(_enrich(None, level, {"event": event, **fields}))


_SOURCE: dict[str, object] = {"host": socket.gethostname(), "pid": os.getpid()}
"""Which process wrote a line."""

_STACK = structlog.processors.StackInfoRenderer()


def _enrich(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Add the bound fields, level, logger, time and traceback. One function, because each processor costs a call."""
    event = {**_SOURCE, **_BOUND.get(), **event}
    record = event.get("_record")  # a line of a library, from the standard library's logging
    event["level"] = record.levelname.lower() if record is not None else _LEVEL_NAMES.get(method, method)
    event["logger"] = record.name if record is not None else getattr(logger, "name", "")
    second, millisecond = divmod(time_ns() // 1_000_000, 1000)
    event["time"] = f"{_iso(second)}.{millisecond:03}+00:00"
    if "stack_info" in event:
        event = _STACK(logger, method, event)
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, method, event)
    return event


@lru_cache(maxsize=4)
def _iso(second: int) -> str:
    """Format a Unix second as ISO 8601, without the zone. Cached: many lines have the same second."""
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()


@lru_cache(maxsize=1024)
def _any_secret(keys: tuple[str, ...]) -> bool:
    """Return whether a key is the name of a secret. Cached: lines of one event have the same keys."""
    return any(map(_is_secret, keys))


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    normalized = key.lower().replace("-", "_")
    return any(word in normalized for word in _SECRET_WORDS)
