"""Requests while they arrive. An incomplete request takes memory for as long as its client likes."""

import asyncio
from collections.abc import AsyncIterator
from functools import cache
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any

import grpc
from grpc_status.rpc_status import to_status

from gateway.rpc.limits import MAX_INCOMPLETE, MAX_INCOMPLETE_PER_CONNECTION, RECEIVE_TIMEOUT_S
from gateway.rpc.shares import Shares, connection_of
from gateway.rpc.status import status_of
from gateway.sessions.errors import GatewayError, Reason

if TYPE_CHECKING:  # generic in the stubs only
    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]


class RequestReceiver:
    """Reads the one request of a call of grpcio, within RECEIVE_TIMEOUT_S.

    Above MAX_INCOMPLETE the oldest incomplete request is rejected, above MAX_INCOMPLETE_PER_CONNECTION the oldest one
    of that connection: complete requests are never rejected here. grpcio calls a handler with a stream of requests as
    soon as the headers have arrived, and one with a single request when that is complete.
    """

    def __init__(self) -> None:
        self._incomplete: dict[asyncio.Timeout, str] = {}
        """Oldest first, each with its connection."""
        self._shares = Shares()

    def wrap(self, handler: "Handler") -> "Handler":
        """The handler to register for a method with one request."""
        decode, encode = handler.request_deserializer, handler.response_serializer
        if not handler.response_streaming:
            return grpc.stream_unary_rpc_method_handler(self._call(handler.unary_unary), decode, encode)
        behavior: Any = handler.unary_stream
        if isasyncgenfunction(behavior):
            return grpc.stream_stream_rpc_method_handler(self._generate(behavior), decode, encode)
        return grpc.stream_stream_rpc_method_handler(self._call(behavior), decode, encode)

    def _call(self, behavior: Any) -> Any:
        async def call(_: Any, context: "Context") -> Any:
            return await behavior(await self._read(context), context)

        return call

    def _generate(self, behavior: Any) -> Any:
        async def generate(_: Any, context: "Context") -> AsyncIterator[Any]:
            async for response in behavior(await self._read(context), context):
                yield response

        return generate

    async def _read(self, context: "Context") -> Any:
        connection = connection_of(context.peer())
        if self._shares.used_by(connection) >= MAX_INCOMPLETE_PER_CONNECTION:
            self._reject(next(each for each, key in self._incomplete.items() if key == connection))
        elif self._shares.total >= MAX_INCOMPLETE:
            self._reject(next(iter(self._incomplete)))
        try:
            async with asyncio.timeout(RECEIVE_TIMEOUT_S) as limit:
                self._incomplete[limit] = connection
                self._shares.take(connection)
                try:
                    request = await context.read()
                finally:
                    self._remove(limit)
        except TimeoutError:
            await context.abort_with_status(_incomplete())
        if request is grpc.aio.EOF:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call ended without a request")
        return request

    def _reject(self, limit: asyncio.Timeout) -> None:
        self._remove(limit)
        limit.reschedule(asyncio.get_running_loop().time())

    def _remove(self, limit: asyncio.Timeout) -> None:
        if (connection := self._incomplete.pop(limit, None)) is not None:
            self._shares.give_back(connection)


@cache  # an attacker gets thousands of them
def _incomplete() -> grpc.Status:
    error = GatewayError(
        Reason.GATEWAY_BUSY,
        f"the request was not complete after {RECEIVE_TIMEOUT_S:g} s, or newer ones took its place. Nothing was done: "
        "retry in a moment",
    )
    status: grpc.Status = to_status(status_of(error))
    return status
