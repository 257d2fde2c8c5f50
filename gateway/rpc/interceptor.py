"""Around every call: access, limits, errors as google.rpc.Status, and a log line for its end."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_status.rpc_status import to_status

from adapters.contract import Certainty
from gateway.rpc.access import Access
from gateway.rpc.caller import ANONYMOUS, caller
from gateway.rpc.callers import Callers, CallerUnknown, require_request
from gateway.rpc.limits import RpcLimits
from gateway.rpc.roles import MethodRule, rule_of
from gateway.rpc.shares import Shares, address_of, connection_of
from gateway.rpc.status import ApiReason, status_of
from gateway.sessions.attempt import internal_error
from gateway.sessions.errors import GatewayError, Reason
from gateway.telemetry.errors import log_unexpected_error
from gateway.telemetry.metrics import RPC_REJECTIONS, Metrics
from gateway.telemetry.sampling import LineSampler
from gateway.telemetry.tracing import Tracer, active

log = structlog.get_logger(__name__)

if TYPE_CHECKING:  # generic in the stubs only
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]


class RpcInterceptor:
    """Turns GatewayError into google.rpc.Status, and any other exception into GATEWAY_ERROR without its text.

    A call without access, and one above the limits, is rejected before its request is decoded: an unknown caller takes
    no place of the limits. Handlers are wrapped once, at registration: grpc's own interceptors would run a lookup for
    each call.
    """

    def __init__(
        self,
        limits: RpcLimits | None = None,
        traces: Tracer | None = None,
        callers: Callers | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.limits = limits or RpcLimits()
        """They may be replaced at any time, and apply from the next call on."""
        self.access = Access(callers)
        self._traces = traces
        self._metrics = metrics
        self._unknown_callers = LineSampler(_log_unknown_caller)
        self.stopping = False
        """Whether new calls are rejected, by a server that goes on accepting them until those in flight have ended."""
        self._calls, self._streams = Shares(), Shares()
        self._idle = asyncio.Event()
        self._idle.set()
        self._log = log.bind()  # a module's logger is bound again for each line

    @property
    def in_flight(self) -> int:
        """Calls in flight, event streams included."""
        return self._calls.total + self._streams.total

    async def idle(self) -> None:
        """Wait until no call and no stream is in flight."""
        await self._idle.wait()

    def wrap(self, method: str, handler: "Handler") -> "Handler":
        """The handler to register for a method ('/package.Service/Method')."""
        # The request is decoded inside, so that an undecodable one has its row in the table of errors.
        decode, encode = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            streaming = self._streaming(method, rule_of(method), handler.unary_stream, decode)
            return grpc.unary_stream_rpc_method_handler(streaming, None, encode)
        unary = self._unary(method, rule_of(method), handler.unary_unary, decode)
        if self._traces is not None:
            unary = self._traces.rpc(method, unary)
        return grpc.unary_unary_rpc_method_handler(unary, None, encode)

    def _unary(self, method: str, rule: MethodRule, behavior: Any, decode: Any) -> Any:
        async def call(request: bytes, context: "Context") -> Any:
            started = time.monotonic()
            if self.stopping:
                await self._fail(method, context, _stopping(), started)
            try:
                self.access.admit(rule, context)
            except Exception as error:  # noqa: BLE001 - no exception text may reach the caller
                await self._fail(method, context, error, started)
            user = connection_of(context.peer())
            if self._calls.total >= self.limits.calls:
                await self._fail(method, context, _busy(f"{self._calls.total} calls are in flight"), started)
            if self._calls.used_by(user) >= self.limits.calls_per_connection:
                await self._fail(method, context, _share_used(f"{self._calls.used_by(user)} calls"), started)
            self._calls.take(user)
            self._idle.clear()
            try:
                message = _decoded(request, decode)
                require_request(rule, message)
                response = await behavior(message, context)
            except Exception as error:  # noqa: BLE001 - no exception text may reach the caller
                await self._fail(method, context, error, started)
            else:
                self._log_call(method, started)
                return response
            finally:
                self._calls.give_back(user)
                self._ended()

        return call

    def _streaming(self, method: str, rule: MethodRule, behavior: Any, decode: Any) -> Any:
        async def call(request: bytes, context: "Context") -> AsyncIterator[Any]:
            started = time.monotonic()
            expires_at = 0.0
            if self.stopping:
                await self._fail(method, context, _stopping(), started)
            try:
                expires_at = self.access.admit(rule, context)
            except Exception as error:  # noqa: BLE001 - no exception text may reach the caller
                await self._fail(method, context, error, started)
            user = connection_of(context.peer())
            if self._streams.total >= self.limits.event_streams:
                await self._fail(method, context, _busy(f"{self._streams.total} streams are open"), started)
            if self._streams.used_by(user) >= self.limits.event_streams_per_connection:
                await self._fail(method, context, _share_used(f"{self._streams.used_by(user)} streams"), started)
            self._streams.take(user)
            self._idle.clear()
            try:
                message = _decoded(request, decode)
                require_request(rule, message)
                async with self.access.stream(rule, message, context, expires_at):
                    async for response in behavior(message, context):
                        yield response
                self._log_call(method, started)
            except Exception as error:  # noqa: BLE001 - no exception text may reach the caller
                await self._fail(method, context, error, started)
            finally:
                self._streams.give_back(user)
                self._ended()

        return call

    def _ended(self) -> None:
        if not self.in_flight:
            self._idle.set()

    async def _fail(self, method: str, context: "Context", error: Exception, started: float) -> None:
        """Abort the call with the error's Status."""
        if isinstance(error, grpc.aio.AbortError):
            raise error
        failure = (
            error
            if isinstance(error, GatewayError)
            else internal_error(log_unexpected_error(error), Certainty.NOT_SENT)
        )
        self._log_failure(method, context, started, failure)
        status = to_status(status_of(failure))
        if (traces := active()) is not None:
            certainty = {"reason": failure.reason, "certainty": failure.certainty or ""}
            traces.rpc_failed(status.code.name, certainty, failure.message)
        await context.abort_with_status(status)

    def _log_call(self, method: str, started: float) -> None:
        self._log.info("rpc", method=method, duration_ms=_milliseconds(started), actor=caller.get())

    def _log_failure(self, method: str, context: "Context", started: float, failure: GatewayError) -> None:
        """Log a failure. Those of unknown callers are sampled, since nothing limits how often they call."""
        if self._metrics is not None and failure.reason in RPC_REJECTIONS:
            self._metrics.rpc_rejected(failure.reason)
        fields: dict[str, object] = {
            "method": method,
            "duration_ms": _milliseconds(started),
            "certainty": failure.certainty,
            "provider": failure.provider,
            "request_id": failure.request_id,
            "error": failure.message,
        }
        if isinstance(failure, CallerUnknown):
            self._unknown_callers.add(address_of(context.peer()), failure.reason, **fields, identity=failure.presented)
        else:
            self._log.info("rpc failed", actor=caller.get(), reason=failure.reason, **fields)


def _milliseconds(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 3)


def _busy(reason: str) -> GatewayError:
    return GatewayError(
        Reason.GATEWAY_BUSY,
        f"the gateway is at its limit: {reason}. Nothing was done: retry in a moment, perhaps at another replica",
    )


def _share_used(reason: str) -> GatewayError:
    return GatewayError(
        Reason.GATEWAY_BUSY,
        f"this connection is at its limit: {reason} are open on it. Nothing was done: retry in a moment",
    )


def _stopping() -> GatewayError:
    return GatewayError(
        ApiReason.GATEWAY_STOPPING, "the gateway is stopping. Nothing was done: call again, perhaps at another replica"
    )


def _decoded(request: bytes, decode: Any) -> Any:
    try:
        return decode(request)
    except DecodeError:
        raise GatewayError(
            Reason.FIELD_INVALID,
            "the request is not a message of this method: generate the client from the protos of this release",
        ) from None


def _log_unknown_caller(peer: str, reason: str, **fields: object) -> None:
    log.info("rpc failed", actor=ANONYMOUS, reason=reason, peer=peer, **fields)
