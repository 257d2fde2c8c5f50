"""Around every call: a failure becomes its Status, a bug an error id, and a line of the log says how it ended."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from grpc_health.v1 import health
from grpc_status.rpc_status import to_status

from adapters.contract import Certainty
from gateway.rpc.status import status_of
from gateway.sessions.attempt import gateway_error
from gateway.sessions.failure import Failure

log = structlog.get_logger(__name__)

if TYPE_CHECKING:  # generic in the stubs only
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]


class FailureInterceptor(grpc.aio.ServerInterceptor):
    """Turns Failure into google.rpc.Status, and anything unforeseen into GATEWAY_ERROR: no exception's text leaves."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End the health library's watchers: they would hold the server for the whole of its grace."""
        self._stopping.set()

    async def intercept_service(
        self, continuation: "Continuation", handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Wrap the method's handler; methods that stream requests (reflection's) are left to their library."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        method = str(handler_call_details.method)
        coders = (handler.request_deserializer, handler.response_serializer)
        if not handler.response_streaming:
            return grpc.unary_unary_rpc_method_handler(_unary(method, handler.unary_unary), *coders)
        if method.startswith(f"/{health.SERVICE_NAME}/"):
            return grpc.unary_stream_rpc_method_handler(self._until_stopped(handler.unary_stream), *coders)
        return grpc.unary_stream_rpc_method_handler(_streaming(method, handler.unary_stream), *coders)

    def _until_stopped(self, behavior: Any) -> Any:
        async def call(request: Any, context: "Context") -> None:
            watch = asyncio.ensure_future(behavior(request, context))
            stop = asyncio.ensure_future(self._stopping.wait())
            try:
                await asyncio.wait({watch, stop}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                watch.cancel()
                stop.cancel()

        return call


def _unary(method: str, behavior: Any) -> Any:
    async def call(request: Any, context: "Context") -> Any:
        started = time.monotonic()
        try:
            response = await behavior(request, context)
        except Exception as error:  # noqa: BLE001 - no exception may leave as it is
            await _fail(method, context, error, started)
        _log(method, started)
        return response

    return call


def _streaming(method: str, behavior: Any) -> Any:
    async def call(request: Any, context: "Context") -> AsyncIterator[Any]:
        started = time.monotonic()
        try:
            async for response in behavior(request, context):
                yield response
        except Exception as error:  # noqa: BLE001 - no exception may leave as it is
            await _fail(method, context, error, started)
        _log(method, started)

    return call


async def _fail(method: str, context: "Context", error: Exception, started: float) -> None:
    """Abort the call with the error's Status. Whatever a servicer raises ends here, so that none of it leaks."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    failure = error if isinstance(error, Failure) else gateway_error(error, Certainty.NOT_SENT)
    _log(method, started, failure)
    await context.abort_with_status(to_status(status_of(failure)))


def _log(method: str, started: float, failure: Failure | None = None) -> None:
    facts = {"method": method, "seconds": round(time.monotonic() - started, 6)}
    if failure is None:
        tell = log.debug if method.startswith("/grpc.") else log.info  # health checks come every second
        tell("rpc", **facts)
        return
    log.info(
        "rpc failed",
        **facts,
        reason=failure.reason,
        certainty=failure.certainty,
        provider=failure.provider,
        request_id=failure.request_id,
        message=failure.message,
    )
