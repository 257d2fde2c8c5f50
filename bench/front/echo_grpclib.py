"""The same echo behind grpclib."""

import asyncio
from typing import Any

import uvloop
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from bench.front.echo import METHOD, answer
from gateway.v1 import session_service_pb2 as pb


class Echo:
    """One method."""

    async def _close(self, stream: "Stream[Any, Any]") -> None:
        request = await stream.recv_message()
        assert request is not None
        await stream.send_message(answer(request))

    def __mapping__(self) -> dict[str, Handler]:
        return {METHOD: Handler(self._close, Cardinality.UNARY_UNARY, pb.CloseSessionRequest, pb.CloseSessionResponse)}


async def main() -> None:
    """Serve until killed."""
    server = Server([Echo()])
    await server.start("127.0.0.1", 0)
    print(server._server.sockets[0].getsockname()[1], flush=True)  # noqa: SLF001 - it tells no port otherwise
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
