"""An empty gRPC service beside an empty HTTP server, as their libraries are usually written: what any start costs."""

import asyncio
import json
from typing import Any

import grpc
import uvloop
from aiohttp import web

from gateway.v1.wallet_service_pb2 import OpenAccountRequest, OpenAccountResponse


async def open_account(request: OpenAccountRequest, _: grpc.aio.ServicerContext[Any, Any]) -> OpenAccountResponse:
    """Answer what was asked for, and keep nothing."""
    return OpenAccountResponse(user_id=request.user_id, currency=request.currency, cash=request.opening_balance)


async def handle(request: web.Request) -> web.Response:
    """Answer anything."""
    return web.json_response(await request.json())


async def main() -> None:
    """Serve both on free ports until killed."""
    method = grpc.unary_unary_rpc_method_handler(
        open_account, OpenAccountRequest.FromString, OpenAccountResponse.SerializeToString
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("gateway.v1.WalletService", {"OpenAccount": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"grpc": f"127.0.0.1:{port}", "callbacks": f"127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
