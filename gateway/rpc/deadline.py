"""How long a caller waits, and what it is told where the store takes longer."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import grpc
import structlog

from adapters.contract import Certainty
from gateway.sessions.close_service import ANSWER_MARGIN_S
from gateway.sessions.errors import GatewayError, Reason
from gateway.store.base import StoreUnavailable

if TYPE_CHECKING:  # generic in the stubs only
    Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger(__name__)


def seconds_left(context: "Context", default_s: float) -> float:
    """Seconds until the caller's deadline, or the default where it set none."""
    remaining = cast("float | None", context.time_remaining())  # its stub knows no None
    # Without a deadline grpcio returns None, and pygrpc-native sys.maxsize.
    return default_s if remaining is None or remaining >= sys.maxsize else remaining


@asynccontextmanager
async def store_timeout(context: "Context", default_s: float, asked: str) -> AsyncIterator[None]:
    """Bounds what the store may take by the caller's deadline. Raises Failure STORE_UNAVAILABLE.

    `asked` is what the caller is told did not answer. All that is done in here can be repeated safely.
    """
    try:
        async with asyncio.timeout(seconds_left(context, default_s) - ANSWER_MARGIN_S):
            yield
    except (StoreUnavailable, TimeoutError) as error:
        log.warning("the store did not answer", asked=asked, detail=str(error) or "no answer within the deadline")
        unchanged = isinstance(error, StoreUnavailable) and error.unchanged
        raise GatewayError(
            Reason.STORE_UNAVAILABLE,
            f"{asked} did not take or give the data: repeat the call, which is safe",
            certainty=Certainty.NOT_SENT if unchanged else Certainty.UNKNOWN,
        ) from error
