"""grpc.health.v1: the health of the gateway, of each of its services, and of each provider."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:  # generic in the stubs only
    Context = grpc.aio.ServicerContext[Any, Any]

Response = health_pb2.HealthCheckResponse


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # published without types
    """Answers Check and Watch. In the library's own servicer a watcher that does not read blocks every change."""

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {"": Response.SERVING}
        self._changed = asyncio.Event()
        self._stopping = False

    def set(self, statuses: Mapping[str, int]) -> None:
        """Change the status of some names. No effect once `stop` was called."""
        if not self._stopping:
            self._statuses |= statuses
            self._changed.set()
            self._changed = asyncio.Event()

    def stop(self) -> None:
        """Set every name to NOT_SERVING, permanently."""
        self.set(dict.fromkeys(self._statuses, Response.NOT_SERVING))
        self._stopping = True

    async def Check(self, request: Any, context: "Context") -> Any:  # noqa: N802 - gRPC's name
        """The status of a name. NOT_FOUND for one that was never set."""
        if request.service not in self._statuses:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return Response(status=self._statuses[request.service])

    async def Watch(self, request: Any, context: "Context") -> None:  # noqa: N802 - gRPC's name
        """The status of a name, and then each other one that it takes; SERVICE_UNKNOWN until it is set."""
        last = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, Response.SERVICE_UNKNOWN)
            if status != last:
                await context.write(Response(status=status))
                last = status
            else:
                await changed.wait()
