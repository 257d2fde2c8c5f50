"""gRPC as an ASGI application, as far as measuring needs it: for servers that know HTTP/2 and trailers."""

import asyncio
import base64
import socket
import sys
from typing import Any, cast

import grpc
import uvloop

from bench.front.echo import Echo
from gateway.rpc.http2 import heads
from gateway.rpc.http2.server import Http2Server
from gateway.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server

TRAILERS = {
    "type": "http.response.start",
    "status": 200,
    "trailers": True,
    "headers": [(b"content-type", b"application/grpc")],
}


class Context:
    """What handlers use of grpc.aio's."""

    def __init__(self, deadline_at: float | None, send: Any) -> None:
        self._deadline_at = deadline_at
        self._send = send
        self._opened = False
        self.ending: tuple[int, str, Any] = (0, "", ())

    def time_remaining(self) -> float | None:
        return None if self._deadline_at is None else self._deadline_at - asyncio.get_running_loop().time()

    async def send_initial_metadata(self, metadata: Any) -> None:
        if not self._opened:
            self._opened = True
            await self._send(TRAILERS)

    async def abort_with_status(self, status: Any) -> None:
        self.ending = status.code.value[0], status.details, status.trailing_metadata
        raise grpc.aio.AbortError

    async def message(self, data: bytes) -> None:
        await self._send(
            {"type": "http.response.body", "body": b"\0" + len(data).to_bytes(4, "big") + data, "more_body": True}
        )


class Application(Http2Server):
    """Takes services as the gateway's own server does, and serves them over ASGI."""

    async def start(self) -> None:
        """The ASGI server calls."""

    def bind(self, host: str, port: int, tls: Any = None) -> int:
        """The ASGI server listens."""
        return 0

    async def stop(self, grace_s: float) -> None:
        """The ASGI server stops."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        method = self.methods[scope["path"]]
        deadline_at = None
        for name, value in scope["headers"]:
            if name == b"grpc-timeout":
                deadline_at = asyncio.get_running_loop().time() + heads.seconds_of(value)
        event = await receive()
        body = event["body"]
        while event.get("more_body"):
            event = await receive()
            body += event["body"]
        context = Context(deadline_at, send)
        try:
            async with asyncio.timeout_at(deadline_at):
                if method.gives_stream:
                    async for answer in method.behavior(method.decode(body[5:]), context):
                        await context.send_initial_metadata(())
                        await context.message(method.encode(answer))
                else:
                    answer = await method.behavior(method.decode(body[5:]), context)
                    await context.send_initial_metadata(())
                    await context.message(method.encode(answer))
        except grpc.aio.AbortError:
            pass
        await context.send_initial_metadata(())
        code, message, metadata = context.ending
        trailers = [(b"grpc-status", b"%d" % code)]
        if message:
            trailers.append((b"grpc-message", message.encode()))
        trailers += [(name.encode(), base64.b64encode(value).rstrip(b"=")) for name, value in metadata]
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        await send({"type": "http.response.trailers", "headers": trailers})


class Echoing:
    """The ASGI application: the echo, and the server's own start and stop."""

    def __init__(self) -> None:
        self._application = Application()
        add_SessionServiceServicer_to_server(Echo(), cast("grpc.aio.Server", self._application))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._application(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


app = Echoing()


async def pyvoy() -> None:
    """Behind pyvoy: prints the port, serves until killed."""
    from pyvoy import PyvoyServer  # noqa: PLC0415 - not installed with the others

    async with PyvoyServer("bench.front.asgi:app", loop="uvloop") as server:
        print(server.listener_port, flush=True)
        await asyncio.Event().wait()


async def hypercorn() -> None:
    """Behind hypercorn."""
    from hypercorn.asyncio import serve  # noqa: PLC0415 - not installed with the others
    from hypercorn.config import Config  # noqa: PLC0415

    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    await serve(app, config)


if __name__ == "__main__":
    uvloop.run({"pyvoy": pyvoy, "hypercorn": hypercorn}[sys.argv[1]]())
