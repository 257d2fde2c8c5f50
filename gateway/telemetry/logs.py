"""The log: JSON lines, one for each event, in which no secret stands.

JSON escapes line breaks and ESC, so nothing that a stranger sends can forge a line or speak to a terminal. Tracebacks
have no locals. What libraries log by the standard library goes the same way.
"""

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
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

_BOUND: ContextVar[Mapping[str, object]] = ContextVar("bound", default=MappingProxyType({}))


def bind(**words: object) -> None:
    """`bind(request_id=…, provider=…)`: every line that this task and its tasks log from here on carries these.

    In one context variable: structlog has one for each word, and looks through all that there are at each line.
    """
    _BOUND.set({**_BOUND.get(), **words})


bound = _BOUND.get
"""What this task has bound."""

_SECRET_WORDS = ("authorization", "callback_key", "cookie", "credential", "password", "secret", "token")
"""A key with one of these in it is masked, whatever its value."""

_SECRET_FIELDS = frozenset({"authorization", "callback_key", "callback_keys", "password", "secret", "token"})
"""Names under which values are masked in text that quotes a message."""

_PLAIN = frozenset({str, int, float, bool, type(None)})
"""Values that JSON knows and that hold no others."""

_LEVEL_NAMES = {"warn": "warning", "exception": "error"}

_Logger = type("_Logger", (structlog.make_filtering_bound_logger(logging.INFO),), {})
"""The class of our loggers, of those that are bound already too. Its base is what drops lines below the level."""

_DEEPEST = 16
_MASK = MASK.decode()


def configure(level: str, secrets: Iterable[Secret] | KnownSecrets, stream: TextIO | None = None) -> None:
    """Send everything at `level` and above to `stream`, standard error by default, and nowhere else.

    `secrets` are masked wherever they stand. Raises ValueError for a level that logging does not know.
    """
    enrich: list[Processor] = [_enriched]
    rendered = Rendered(secrets)
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=enrich,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, rendered],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]  # another one would write the same lines unmasked
    set_level(level)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)  # its lines hold callback keys, wrong ones too
    # Our own lines do not go through the standard library, which costs more than all the rest of a line.
    structlog.configure(
        processors=[*enrich, rendered],
        wrapper_class=_Logger,
        logger_factory=partial(_Lines, handler),
    )


def set_level(level: str) -> None:
    """Write what is at this level and above, from here on. Raises ValueError for one that logging does not know."""
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None:
        raise ValueError(f"log level {level!r} is not one of debug, info, warning, error, critical")
    logging.getLogger().setLevel(threshold)
    _Logger.__bases__ = (structlog.make_filtering_bound_logger(threshold),)


class _Lines:
    """Writes rendered lines in one logger's name."""

    def __init__(self, handler: "_Handler", name: str = "") -> None:
        self._handler = handler
        self.name = name

    def msg(self, line: str) -> None:
        """Write a line, whole."""
        self._handler.write(line)

    def _soon(self, line: str) -> None:
        self._handler.write_soon(line)

    debug = info = _soon
    warning = error = critical = exception = msg


class Rendered:
    """The last processor: an event as a line of JSON, masked.

    A line of plain values with nothing in it that could be a secret is written as it is. Any other is masked value by
    value, which costs many times as much.
    """

    def __init__(self, secrets: Iterable[Secret] | KnownSecrets) -> None:
        self._mask = Mask(SensitiveFields(fields=_SECRET_FIELDS), secrets)
        self._slowly = MaskSecrets(self._mask)
        self._encode = msgspec.json.Encoder().encode

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        """The line, without its end."""
        if _PLAIN.issuperset(map(type, event.values())) and not _any_secret(tuple(event)):
            try:
                line = self._encode(event)
            except (ValueError, OverflowError):  # half a character, or a number beyond 64 bits
                pass
            else:
                if self._mask.is_clean(line):
                    return line.decode()
        return json.dumps(self._slowly(logger, method, event))


class MaskSecrets:
    """Masks by key and by value at any depth, and makes all of it plain values."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """The event, masked."""
        return {str(key): self._masked(str(key), value, 0) for key, value in event.items()}

    def _masked(self, key: str, value: object, depth: int) -> object:
        if _is_secret(key) and value is not None:
            return _MASK
        match value:
            case None | bool():
                return value
            case int() | float() if isfinite(value) and self._mask.text(str(value)) == str(value):
                return value
            case Mapping() if depth < _DEEPEST:
                return {
                    self._mask.text(str(name)): self._masked(str(name), inner, depth + 1)
                    for name, inner in value.items()
                }
            case list() | tuple() | set() | frozenset() if depth < _DEEPEST:
                return [self._masked("", inner, depth + 1) for inner in value]
            case _:
                return self._words(value)

    def _words(self, value: object) -> str:
        match value:
            case bytes() | bytearray() | memoryview():
                return self._mask.body(bytes(value)).decode("utf-8", "backslashreplace")
            case Mapping() | list() | tuple() | set() | frozenset():
                return "..."
            case _:
                return self._mask.text(str(value))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines, those of one turn of the event loop at once: a write costs more than all the rest of a line.

    Tells of a line that could not be written without the line's own words: they are not masked yet.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._waiting: list[str] = []
        # The one lock, which logging takes before `emit` too. A thread may take it twice: garbage is collected at any
        # moment, also while a line is written, and asyncio logs what it finds there.
        self._one_at_a_time = self.lock = threading.RLock()
        self._writing = False
        self._writer: asyncio.AbstractEventLoop | None = None
        """The loop that writes what waits, before its next turn."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a library's line."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - whatever a library logs, the line is lost and nothing else
            self.handleError(record)
        else:
            self.write(line)

    def write(self, line: str) -> None:
        """Write a line that is rendered already, and what waits before it."""
        with self._one_at_a_time:
            self._waiting.append(line)
        self.flush()

    def write_soon(self, line: str) -> None:
        """Write it at the end of the loop's turn; at once where no loop runs."""
        with self._one_at_a_time:
            self._waiting.append(line)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if self._writer is not loop:
            self._writer = loop
            loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits. A process that ends calls it too."""
        with self._one_at_a_time:
            self._writer = None
            if self._writing:  # this thread does, further up: it takes along what came meanwhile
                return
            self._writing = True
            try:
                while self._waiting:
                    lines, self._waiting = self._waiting, []
                    self._write_out(lines)
            finally:
                self._writing = False

    def _write_out(self, lines: Sequence[str]) -> None:
        try:
            self.stream.write(self.terminator.join((*lines, "")))
            self.stream.flush()
        except (OSError, ValueError):
            self._lost("the gateway")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name for it
        self._lost(record.module)

    def _lost(self, module: str) -> None:
        what = type(sys.exc_info()[1]).__name__
        with suppress(OSError, ValueError):  # where the stream itself is gone, there is nowhere left to say so
            self.stream.write(f'{{"event": "a log line of {module} was lost: {what}", "level": "error"}}\n')


_STACK = structlog.processors.StackInfoRenderer()


def _enriched(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The event with what is bound, its level, its logger, its time, and its traceback where it has one: each of it
    costs a call.
    """
    event = {**_BOUND.get(), **event}
    record = event.get("_record")  # a library's, by the standard library's logging
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
    """A second of the clock, as ISO 8601 writes it without its zone. Many lines are of the same."""
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()


@lru_cache(maxsize=1024)
def _any_secret(keys: tuple[str, ...]) -> bool:
    """Whether a line has a secret's name among its keys: the same lines come again and again."""
    return any(map(_is_secret, keys))


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    plain = key.lower().replace("-", "_")
    return any(word in plain for word in _SECRET_WORDS)
