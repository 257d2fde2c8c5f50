"""The log: JSON lines, one for each event, in which no secret stands.

JSON escapes line breaks and ESC, so nothing that a stranger sends can forge a line or speak to a terminal. Tracebacks
have no locals. What libraries log by the standard library goes the same way.
"""

import logging
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from math import isfinite
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from adapters.contract import Masked, Secret
from gateway.telemetry.masking import Mask
from gateway.telemetry.spans import MASK

bound = structlog.contextvars.bound_contextvars
"""`with bound(request_id=…, provider=…)`: every line logged inside carries these."""

_SECRET_WORDS = ("authorization", "callback_key", "cookie", "credential", "password", "secret", "token")
"""A key with one of these in it is masked, whatever its value."""

_SECRET_FIELDS = frozenset({"authorization", "callback_key", "callback_keys", "password", "secret", "token"})
"""Names under which values are masked in text that quotes a message."""

_DEEPEST = 16
_MASK = MASK.decode()


def configure(level: str, secrets: Iterable[Secret], stream: TextIO | None = None) -> None:
    """Send everything at `level` and above to `stream`, standard error by default, and nowhere else.

    `secrets` are masked wherever they stand. Raises ValueError for a level that logging does not know.
    """
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None:
        raise ValueError(f"log level {level!r} is not one of debug, info, warning, error, critical")
    enrich: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _add_time,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=enrich,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                SecretsMasked(secrets),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]  # another one would write the same lines unmasked
    root.setLevel(threshold)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)  # its lines hold callback keys, wrong ones too
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *enrich,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


class SecretsMasked:
    """The last processor before JSON: masks by key and by value at any depth, and makes all of it plain values."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._mask = Mask(Masked(fields=_SECRET_FIELDS), secrets)

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
    """Tells of a line that could not be written without the line's own words: they are not masked yet."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name for it
        what = type(sys.exc_info()[1]).__name__
        with suppress(OSError, ValueError):  # where the stream itself is gone, there is nowhere left to say so
            self.stream.write(f'{{"event": "a log line of {record.module} was lost: {what}", "level": "error"}}\n')


def _add_time(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["time"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    return event


def _is_secret(key: str) -> bool:
    plain = key.lower().replace("-", "_")
    return any(word in plain for word in _SECRET_WORDS)
