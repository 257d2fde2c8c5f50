"""The floor: grpc.aio and an aiohttp client as they are, one POST a call, and nothing else.

No journal, no idempotency, no time limit, no judgement of the answer: what the gateway's own libraries take.
"""

import sys
from typing import Any
from uuid import uuid4

import aiohttp
import grpc
import uvloop
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.v1 import session_service_pb2 as pb
from gateway.v1.session_service_pb2_grpc import SessionServiceServicer, add_SessionServiceServicer_to_server


class Floor(SessionServiceServicer):
    """Passes each call on."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def CloseSession(  # noqa: N802 - the proto's name
        self, request: pb.CloseSessionRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> pb.CloseSessionResponse:
        """Ask the provider, and believe its answer."""
        asked = {
            "secureLogin": "partner-1",
            "userId": request.user_id,
            "clearHistory": 0,
            "token": "bench-token-0123456789-0123456789-0123456789",
            "uuid": uuid4().hex,
        }
        async with self._session.post(self._url, json=asked) as response:
            answer = await response.json()
        end_time = Timestamp()
        end_time.GetCurrentTime()
        return pb.CloseSessionResponse(
            request_id=request.request_id,
            outcome=pb.OUTCOME_CLOSED,
            provider_answer=pb.ProviderAnswer(
                code=str(answer["error"]), description=answer["description"], http_status=response.status
            ),
            end_time=end_time,
        )


async def serve(session: aiohttp.ClientSession, base_url: str) -> tuple[grpc.aio.Server, int]:
    """Serve on a free port; answers the server, which ends when nobody holds it, and the port."""
    server = grpc.aio.server()
    floor = Floor(session, f"{base_url}/V4/CloseSession")  # type: ignore[abstract]  # nothing else is called
    add_SessionServiceServicer_to_server(floor, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def main(base_url: str, connections: int) -> None:
    """Serve until killed."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:
        server, port = await serve(session, base_url)
        print(f'{{"grpc": "127.0.0.1:{port}"}}', flush=True)
        await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100))
