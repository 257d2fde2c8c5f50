"""Rejected connections and requests: all are counted, and a sample of them is logged.

A rejection costs nobody outside anything. So the log must not grow, nor the memory, with their number.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import structlog

from gateway.callbacks.sources import source_of
from gateway.telemetry.metrics import CallbackRejection, Metrics

log = structlog.get_logger(__name__)

WINDOW_S = 60.0
"""Seconds between two lines of the same source and reason."""

MAX_SAMPLES = 4096
"""Sources and reasons that are remembered. While there are more, those that are new share one line."""

_REST = "many sources"

_EVENTS = {
    CallbackRejection.TOO_SLOW: "callback connection was too slow",
    CallbackRejection.NOT_HTTP: "callback is not HTTP",
    CallbackRejection.TOO_MANY_CONNECTIONS: "callback connection refused: too many",
}


@dataclass(slots=True)
class _Sample:
    """What happened since the last line."""

    peer: str
    since: float
    suppressed: int = 0


class CallbackRejections:
    """Logs the first rejection of each source and reason, then one line a minute with the number of the others.

    `peer` is an address, and the fields are words of HTTP or names of the configuration: never what an unauthenticated
    caller wrote.
    """

    def __init__(self, metrics: Metrics | None = None, now: Callable[[], float] = monotonic) -> None:
        self._metrics = metrics
        self._now = now
        self._samples: OrderedDict[tuple[str, CallbackRejection], _Sample] = OrderedDict()
        """The oldest line first."""

    def add(self, reason: CallbackRejection, peer: str, **fields: object) -> None:
        """Count a rejection, and log it if it is the first of its source with this reason."""
        if self._metrics is not None:
            self._metrics.callback_rejected(reason)
        key = (source_of(peer), reason)
        sample = self._samples.get(key)
        if sample is None and len(self._samples) >= MAX_SAMPLES:
            key, peer, fields = (_REST, reason), _REST, {}
            sample = self._samples.get(key)
        if sample is not None:
            sample.suppressed += 1
            return
        self._samples[key] = _Sample(peer, self._now())
        _log(reason, peer, **fields)

    def tick(self) -> None:
        """Log what was suppressed for a minute, and forget sources that sent nothing more. To be called regularly."""
        ended = self._now() - WINDOW_S
        while self._samples:
            key, sample = next(iter(self._samples.items()))
            if sample.since > ended:
                return
            del self._samples[key]
            if sample.suppressed:
                self._samples[key] = _Sample(sample.peer, self._now())
                _log(key[1], sample.peer, suppressed=sample.suppressed)


def _log(reason: CallbackRejection, peer: str, **fields: object) -> None:
    log.info(_EVENTS.get(reason, "callback rejected"), peer=peer, reason=str(reason), **fields)
