"""grpc.health.v1: the health of the gateway, of each of its services, and of each provider."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.rpc.limits import MAX_HEALTH_WATCHES, MAX_HEALTH_WATCHES_PER_CONNECTION
from gateway.rpc.shares import Shares, connection_of

if TYPE_CHECKING:  # generic in the stubs only
    Context = grpc.aio.ServicerContext[Any, Any]

Response = health_pb2.HealthCheckResponse


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # published without types
    """Answers Check and Watch. In the library's own servicer a watcher that does not read blocks every change.

    The limits on calls do not apply to it. Watches have another limit; a Check takes no time.
    """

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {"": Response.SERVING}
        self._changed = asyncio.Event()
        self._stopping = False
        self._watches = Shares()

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
        user = connection_of(context.peer())
        if (
            self._watches.total >= MAX_HEALTH_WATCHES
            or self._watches.used_by(user) >= MAX_HEALTH_WATCHES_PER_CONNECTION
        ):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watches of health: close some, or Check")
        self._watches.take(user)
        try:
            await self._report_changes(request.service, context)
        finally:
            self._watches.give_back(user)

    async def _report_changes(self, name: str, context: "Context") -> None:
        last = None
        while True:
            changed = self._changed
            status = self._statuses.get(name, Response.SERVICE_UNKNOWN)
            if status != last:
                await context.write(Response(status=status))
                last = status
            else:
                await changed.wait()
