"""gRPC reflection with a bounded number of streams."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
from grpc_reflection.v1alpha import reflection

from gateway.rpc.limits import MAX_REFLECTION_STREAMS, MAX_REFLECTION_STREAMS_PER_CONNECTION
from gateway.rpc.shares import Shares, connection_of

if TYPE_CHECKING:  # generic in the stubs only
    Context = grpc.aio.ServicerContext[Any, Any]


class LimitedReflection(reflection.aio.ReflectionServicer):  # type: ignore[misc] # published without types
    """The library's service. A client keeps a stream open for as long as it likes."""

    def __init__(self, services: Any) -> None:
        super().__init__(services)
        self._streams = Shares()

    async def ServerReflectionInfo(  # noqa: N802 - gRPC's name
        self, request_iterator: AsyncIterator[Any], context: "Context"
    ) -> AsyncIterator[Any]:
        """Answer each request of a stream, if there are not too many streams."""
        user = connection_of(context.peer())
        if (
            self._streams.total >= MAX_REFLECTION_STREAMS
            or self._streams.used_by(user) >= MAX_REFLECTION_STREAMS_PER_CONNECTION
        ):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams of reflection: close some")
        self._streams.take(user)
        try:
            async for response in super().ServerReflectionInfo(request_iterator, context):
                yield response
        finally:
            self._streams.give_back(user)
