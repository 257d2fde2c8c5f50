"""The same job with FastAPI and httpx: JSON in and JSON out, nothing stored.

Set up for speed: uvloop, httptools, no access log, one client that keeps all its connections.
"""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

CONNECTIONS = 100


class CloseSession(BaseModel):
    """What is asked."""

    request_id: str
    provider: str
    user_id: str
    reason: str


class Closed(BaseModel):
    """What is answered."""

    request_id: str
    outcome: str
    code: str
    description: str
    http_status: int


def service(base_url: str) -> FastAPI:
    """The service, before this provider."""
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    client = httpx.AsyncClient(base_url=base_url, limits=limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    async def close_session(call: CloseSession) -> Closed:
        asked = {
            "secureLogin": "partner-1",
            "userId": call.user_id,
            "clearHistory": 0,
            "token": "bench-token-0123456789-0123456789-0123456789",
            "uuid": uuid4().hex,
        }
        response = await client.post("/V4/CloseSession", json=asked)
        answer = response.json()
        return Closed(
            request_id=call.request_id,
            outcome="CLOSED",
            code=str(answer["error"]),
            description=answer["description"],
            http_status=response.status_code,
        )

    app = FastAPI(lifespan=lifespan)
    app.add_api_route("/close", close_session, methods=["POST"])
    return app


def main(base_url: str) -> None:
    """Serve on a free port until killed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f'{{"http": "127.0.0.1:{listener.getsockname()[1]}"}}', flush=True)
        config = uvicorn.Config(
            service(base_url), loop="uvloop", http="httptools", access_log=False, log_level="warning"
        )
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(sys.argv[1])
