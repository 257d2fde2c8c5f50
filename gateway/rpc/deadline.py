"""The caller's deadline, and the error of a store that does not answer within it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast

import grpc
import structlog

from adapters.contract import Certainty
from gateway.sessions.close_service import ANSWER_MARGIN_S
from gateway.sessions.errors import GatewayError, Reason
from gateway.store.base import StoreUnavailable

log = structlog.get_logger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"  # generic in the stubs only


def seconds_left(context: Context, default_s: float) -> float:
    """Seconds until the caller's deadline, or the default where the caller set none."""
    remaining = cast("float | None", context.time_remaining())  # its stub knows no None
    # Without a deadline grpcio returns None, and pygrpc-native sys.maxsize.
    return default_s if remaining is None or remaining >= sys.maxsize else remaining


@asynccontextmanager
async def store_timeout(context: Context, default_deadline_s: Callable[[], float], store: str) -> AsyncIterator[None]:
    """Limits store access to the caller's deadline. Raises GatewayError STORE_UNAVAILABLE.

    `store` names it in the message. The block must be safe to repeat.
    """
    try:
        async with asyncio.timeout(seconds_left(context, default_deadline_s()) - ANSWER_MARGIN_S):
            yield
    except (StoreUnavailable, TimeoutError) as error:
        log.warning("store did not answer", store=store, error=str(error) or "no answer within the deadline")
        unchanged = isinstance(error, StoreUnavailable) and error.unchanged
        raise GatewayError(
            Reason.STORE_UNAVAILABLE,
            f"{store} did not answer: repeat the call, which is safe",
            certainty=Certainty.NOT_SENT if unchanged else Certainty.UNKNOWN,
        ) from error
