"""Samples log lines that anyone on the network can cause: neither the log nor the memory grows with their number."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from gateway.telemetry.sources import source_of

WINDOW_S = 60.0
"""Seconds between two lines of the same source and reason."""

MAX_SAMPLES = 4096
"""Sources and reasons that are remembered. While there are more, those that are new share one line."""

_REST = "many sources"


@dataclass(slots=True)
class _Sample:
    """What happened since the last line."""

    peer: str
    since: float
    suppressed: int = 0


class LineSampler:
    """Writes the first line of each source and reason, then one line a minute with the number of the others.

    `write` gets the peer, the reason, and the fields of the line, or `suppressed` for the number of the others.
    """

    def __init__(self, write: Callable[..., None], now: Callable[[], float] = monotonic) -> None:
        self._write = write
        self._now = now
        self._samples: OrderedDict[tuple[str, str], _Sample] = OrderedDict()
        """The oldest line first."""

    def add(self, peer: str, reason: str, **fields: Any) -> None:
        """Write a line, if it is the first of its source with this reason. `peer` is an address."""
        self.flush()
        key = (source_of(peer), reason)
        sample = self._samples.get(key)
        if sample is None and len(self._samples) >= MAX_SAMPLES:
            key, peer, fields = (_REST, reason), _REST, {}
            sample = self._samples.get(key)
        if sample is not None:
            sample.suppressed += 1
            return
        self._samples[key] = _Sample(peer, self._now())
        self._write(peer, reason, **fields)

    def flush(self) -> None:
        """Write what was suppressed for a minute, and forget sources that sent nothing more."""
        ended = self._now() - WINDOW_S
        while self._samples:
            key, sample = next(iter(self._samples.items()))
            if sample.since > ended:
                return
            del self._samples[key]
            if sample.suppressed:
                self._samples[key] = _Sample(sample.peer, self._now())
                self._write(sample.peer, key[1], suppressed=sample.suppressed)
