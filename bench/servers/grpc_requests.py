"""The same job with threads: grpcio as it is first met, and requests with a pool as large as the threads are many."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import grpc
import requests
from google.protobuf.timestamp_pb2 import Timestamp
from requests.adapters import HTTPAdapter

from gateway.v1 import session_service_pb2 as pb
from gateway.v1.session_service_pb2_grpc import SessionServiceServicer, add_SessionServiceServicer_to_server

THREADS = 64


class Threaded(SessionServiceServicer):
    """Passes each call on, a thread for each."""

    def __init__(self, session: requests.Session, url: str) -> None:
        self._session = session
        self._url = url

    def CloseSession(  # noqa: N802 - the proto's name, and not for asyncio
        self, request: pb.CloseSessionRequest, context: "grpc.ServicerContext"
    ) -> pb.CloseSessionResponse:
        """Ask the provider, and believe its answer."""
        asked = {
            "secureLogin": "partner-1",
            "userId": request.user_id,
            "clearHistory": 0,
            "token": "bench-token-0123456789-0123456789-0123456789",
            "uuid": uuid4().hex,
        }
        response = self._session.post(self._url, json=asked)
        answer: dict[str, Any] = response.json()
        end_time = Timestamp()
        end_time.GetCurrentTime()
        return pb.CloseSessionResponse(
            request_id=request.request_id,
            outcome=pb.OUTCOME_CLOSED,
            provider_answer=pb.ProviderAnswer(
                code=str(answer["error"]), description=answer["description"], http_status=response.status_code
            ),
            end_time=end_time,
        )


def main(base_url: str) -> None:
    """Serve on a free port until killed."""
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=THREADS))
    server = grpc.server(ThreadPoolExecutor(THREADS))
    threaded = Threaded(session, f"{base_url}/V4/CloseSession")  # type: ignore[abstract]  # nothing else is called
    add_SessionServiceServicer_to_server(threaded, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f'{{"grpc": "127.0.0.1:{port}"}}', flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1])
