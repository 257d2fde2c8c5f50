"""Rejected connections and requests: all are counted, and a sample of them is logged."""

from collections.abc import Callable
from time import monotonic

import structlog

from gateway.telemetry.metrics import CallbackRejection, Metrics
from gateway.telemetry.sampling import LineSampler

log = structlog.get_logger(__name__)

_EVENTS: dict[str, str] = {
    CallbackRejection.TOO_SLOW: "callback connection was too slow",
    CallbackRejection.NOT_HTTP: "callback is not HTTP",
    CallbackRejection.TOO_MANY_CONNECTIONS: "callback connection refused: too many",
}


class CallbackRejections:
    """Counts rejections, and logs a sample of them.

    `peer` is an address, and the fields are words of HTTP or names of the configuration: never what an unauthenticated
    caller wrote.
    """

    def __init__(self, metrics: Metrics | None = None, now: Callable[[], float] = monotonic) -> None:
        self._metrics = metrics
        self._sampler = LineSampler(_log, now)

    def add(self, reason: CallbackRejection, peer: str, **fields: object) -> None:
        """Count a rejection, and log it if it is the first of its source with this reason."""
        if self._metrics is not None:
            self._metrics.callback_rejected(reason)
        self._sampler.add(peer, reason, **fields)

    def tick(self) -> None:
        """Log the number of those that were not logged for a minute. To be called regularly."""
        self._sampler.flush()


def _log(peer: str, reason: str, **fields: object) -> None:
    log.info(_EVENTS.get(reason, "callback rejected"), peer=peer, reason=str(reason), **fields)
