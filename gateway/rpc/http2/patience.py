"""How long a connection is waited for, and how old it may grow."""

from enum import Enum, auto
from random import uniform

from gateway.rpc.http2.limits import Limits

AGE_JITTER = 0.1
"""Of its age, by which a connection ends sooner or later: those that were begun together would come back together."""


class Due(Enum):
    """What is due of a connection."""

    NOTHING = auto()
    ASK = auto()
    """Whether the peer is there."""
    DRAIN = auto()
    ABORT = auto()


class Patience:
    """One connection's. Times are the loop's."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self.heard_at = now
        """When the peer last sent anything."""
        self.asked = False
        """Whether it was asked since then."""
        age_s = limits.age_s
        self._old_at = None if age_s is None else now + age_s * uniform(1 - AGE_JITTER, 1 + AGE_JITTER)  # noqa: S311

    def due(self, now: float, *, begun: bool) -> Due:
        """What is to be done now; `begun` is whether the peer has opened its side."""
        limits, silent_s = self._limits, now - self.heard_at
        if silent_s > (limits.silence_s + limits.answer_s if begun else limits.preface_s):
            return Due.ABORT
        if self._old_at is not None and now > self._old_at:
            return Due.DRAIN if now <= self._old_at + limits.age_grace_s else Due.ABORT
        if silent_s > limits.silence_s and not self.asked:
            self.asked = True
            return Due.ASK
        return Due.NOTHING
