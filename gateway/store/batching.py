"""What the group commits of the engines have in common: limits, and the outcome of one operation of a batch."""

from typing import Generic, Protocol, TypeVar

import msgspec

T = TypeVar("T")

MAX_BATCH_SIZE = 500
"""Operations in one batch: bounds how long the first of them waits for the last."""

MAX_QUEUED = 10_000
"""Operations in a queue: with more a slow disk would only fill the memory."""


class Done(msgspec.Struct, Generic[T], frozen=True):
    """An operation returned."""

    value: T


class Raised(msgspec.Struct, frozen=True):
    """An operation raised, or its changes could not be committed: it changed nothing."""

    error: BaseException


Outcome = Done[T] | Raised


class CommitMetrics(Protocol):
    """Counts commits. An engine always calls it from the same thread."""

    def commit(self, engine: str, operations: int, seconds: float) -> None:
        """A batch of `operations` was committed, in `seconds`."""
        ...

    def commit_failed(self, engine: str) -> None:
        """A batch could not be committed."""
        ...
