"""An empty aiohttp handler: it reads JSON, and answers JSON of the size of the gateway's."""

import asyncio

import uvloop
from aiohttp import web

ANSWER = {"transactionId": "0" * 32, "currency": "USD", "cash": 100.5, "error": 0, "description": "Success"}


async def handle(request: web.Request) -> web.Response:
    """Answer anything."""
    await request.json()
    return web.json_response(ANSWER)


async def serve() -> int:
    """Serve on a free port; answers which."""
    app = web.Application()
    app.router.add_post("/callbacks/{provider}/{key}/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port: int = runner.addresses[0][1]
    return port


async def main() -> None:
    """Serve until killed."""
    print(f'{{"callbacks": "127.0.0.1:{await serve()}"}}', flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
