"""How long a caller waits."""

from typing import TYPE_CHECKING, Any, cast

import grpc

if TYPE_CHECKING:  # generic in the stubs only
    Context = grpc.aio.ServicerContext[Any, Any]


def seconds_left(context: "Context", default_s: float) -> float:
    """Seconds until the caller's deadline, or the default where it set none."""
    remaining = cast("float | None", context.time_remaining())  # its stub knows no None
    return default_s if remaining is None else remaining
