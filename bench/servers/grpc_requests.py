"""The same job with threads: grpcio with its own threads, and requests with a connection for each thread."""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import requests
from requests.adapters import HTTPAdapter

from bench.servers.baseline import answered, asked_of
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
        """Ask the provider, and take its answer as it is."""
        response = self._session.post(self._url, json=asked_of(request))
        return answered(request, response.status_code, response.json())


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
