"""The baseline: grpc.aio and an aiohttp client, one POST for each call, and nothing else. With `own` behind the URL the
gateway's own client replaces aiohttp's.

No journal, no idempotency, no time limit, no check of the answer: what the gateway's libraries alone cost.
"""

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import grpc
import uvloop
from google.protobuf.timestamp_pb2 import Timestamp

from adapters.contract import HttpRequest
from gateway.outbound.client import Endpoint, ProviderClient
from gateway.outbound.deadline import Deadline
from gateway.v1 import session_service_pb2 as pb
from gateway.v1.session_service_pb2_grpc import SessionServiceServicer, add_SessionServiceServicer_to_server

Ask = Callable[[dict[str, Any]], Awaitable[tuple[int, Any]]]
"""Posts JSON to the provider; answers the status, and the JSON that came back."""

PATH = "/V4/CloseSession"
JSON = (("Content-Type", "application/json"),)
TIMEOUT_S = 10


class Baseline(SessionServiceServicer):
    """Passes each call on."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def CloseSession(  # noqa: N802 - the proto's name
        self, request: pb.CloseSessionRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> pb.CloseSessionResponse:
        """Ask the provider, and take its answer as it is."""
        status, answer = await self._ask(asked_of(request))
        return answered(request, status, answer)


def asked_of(request: pb.CloseSessionRequest) -> dict[str, Any]:
    """What the provider is asked."""
    return {
        "secureLogin": "partner-1",
        "userId": request.user_id,
        "clearHistory": 0,
        "token": "bench-token-0123456789-0123456789-0123456789",
        "uuid": uuid4().hex,
    }


def answered(request: pb.CloseSessionRequest, status: int, answer: Any) -> pb.CloseSessionResponse:
    """The response for the provider's answer."""
    end_time = Timestamp()
    end_time.GetCurrentTime()
    return pb.CloseSessionResponse(
        request_id=request.request_id,
        outcome=pb.OUTCOME_CLOSED,
        provider_answer=pb.ProviderAnswer(
            code=str(answer["error"]), description=answer["description"], http_status=status
        ),
        end_time=end_time,
    )


async def serve(ask: Ask) -> tuple[grpc.aio.Server, int]:
    """Serve on a free port; returns the server, which ends when it is garbage, and the port."""
    server = grpc.aio.server()
    baseline = Baseline(ask)  # type: ignore[abstract]  # nothing else is called
    add_SessionServiceServicer_to_server(baseline, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


@asynccontextmanager
async def by_aiohttp(base_url: str, connections: int = 100) -> AsyncIterator[Ask]:
    """As it is usually used."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:

        async def ask(asked: dict[str, Any]) -> tuple[int, Any]:
            async with session.post(f"{base_url}{PATH}", json=asked) as response:
                return response.status, await response.json()

        yield ask


@asynccontextmanager
async def by_our_client(base_url: str) -> AsyncIterator[Ask]:
    """As the gateway uses it."""
    client = ProviderClient(Endpoint("baseline", base_url, allow_private_addresses=True))
    await client.start()

    async def ask(asked: dict[str, Any]) -> tuple[int, Any]:
        request = HttpRequest("POST", PATH, headers=JSON, body=json.dumps(asked).encode())
        reply = await client.send(request, Deadline.after(TIMEOUT_S))
        return reply.status, json.loads(reply.body)

    yield ask
    await client.close()


async def main(base_url: str, client: str) -> None:
    """Serve until killed. `client` is 'own', or how many connections aiohttp's may have."""
    async with by_our_client(base_url) if client == "own" else by_aiohttp(base_url, int(client)) as ask:
        server, port = await serve(ask)
        print(f'{{"grpc": "127.0.0.1:{port}"}}', flush=True)
        await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "100"))
