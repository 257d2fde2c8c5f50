"""The same echo behind the gateway's own HTTP/2."""

import asyncio
import sys
from typing import cast

import grpc

from bench.front.echo import Echo
from gateway.rpc.http2.server import Http2Server
from gateway.telemetry import logs
from gateway.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server


async def main() -> None:
    """Serve until killed."""
    logs.configure("warning", ())
    server = Http2Server()
    add_SessionServiceServicer_to_server(Echo(), cast("grpc.aio.Server", server))
    print(server.bind("127.0.0.1", 0), flush=True)
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    if "asyncio" in sys.argv:
        asyncio.run(main())
    else:
        import uvloop

        uvloop.run(main())
