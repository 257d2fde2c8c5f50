"""An echo of CloseSession behind grpcio, in the ways that it can be set up; their names are the arguments."""

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import uvloop

from gateway.v1 import session_service_pb2 as pb
from gateway.v1.session_service_pb2_grpc import SessionServiceServicer, add_SessionServiceServicer_to_server

METHOD = "/gateway.v1.SessionService/CloseSession"


def answer(request: pb.CloseSessionRequest) -> pb.CloseSessionResponse:
    """What the gateway would answer, at once."""
    return pb.CloseSessionResponse(request_id=request.request_id, outcome=pb.OUTCOME_CLOSED)


async def not_called(_servicer: Any, _request: Any, _context: Any) -> Any:
    """The service's other methods."""
    raise NotImplementedError


class Echo(SessionServiceServicer):
    """As it is usually written; nothing else is called."""

    ListProviders = WatchEvents = not_called  # type: ignore[assignment]

    async def CloseSession(self, request: pb.CloseSessionRequest, context: Any) -> pb.CloseSessionResponse:  # noqa: N802
        return answer(request)


class SyncEcho(SessionServiceServicer):
    """A plain function."""

    ListProviders = WatchEvents = not_called  # type: ignore[assignment]

    def CloseSession(self, request: pb.CloseSessionRequest, context: Any) -> pb.CloseSessionResponse:  # noqa: N802
        return answer(request)


class Generic(grpc.GenericRpcHandler):
    """One handler, no (de)serializers of grpcio's."""

    def __init__(self) -> None:
        self._handler: Any = grpc.unary_unary_rpc_method_handler(self._call)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._handler if details.method == METHOD else None

    async def _call(self, request: bytes, context: Any) -> bytes:
        return answer(pb.CloseSessionRequest.FromString(request)).SerializeToString()


class Bytes(grpc.GenericRpcHandler):
    """Not even protobuf: what the transport costs."""

    def __init__(self) -> None:
        self._handler: Any = grpc.unary_unary_rpc_method_handler(self._call)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._handler if details.method == METHOD else None

    async def _call(self, request: bytes, context: Any) -> bytes:
        return request


class Passing(grpc.aio.ServerInterceptor):
    """Does nothing."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        return await continuation(details)


class Wrapping(grpc.aio.ServerInterceptor):
    """Wraps the handler on every call, as an interceptor usually does."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        behavior, decode = handler.unary_unary, handler.request_deserializer

        async def call(request: bytes, context: Any) -> Any:
            return await behavior(decode(request), context)

        return grpc.unary_unary_rpc_method_handler(call, None, handler.response_serializer)


OPTIONS: dict[str, list[tuple[str, Any]]] = {
    "throughput": [("grpc.optimization_target", "throughput")],
    "latency": [("grpc.optimization_target", "latency")],
    "nobdp": [("grpc.http2.bdp_probe", 0)],
    "noprobe": [("grpc.enable_channelz", 0), ("grpc.enable_retries", 0)],
    "minimal": [("grpc.minimal_stack", 1)],
    "bigframe": [("grpc.http2.max_frame_size", 2**20), ("grpc.http2.lookahead_bytes", 2**20)],
    "noaccept": [("grpc.compression_enabled_algorithms_bitset", 1)],
    "nopings": [("grpc.http2.max_pings_without_data", 0), ("grpc.keepalive_time_ms", 2**31 - 1)],
    "noalloc": [("grpc.experimental.tcp_min_read_chunk_size", 65536), ("grpc.experimental.tcp_read_chunk_size", 65536)],
    "quota": [("grpc.server_max_unrequested_time_in_server", 30)],
}


async def aio(ways: set[str]) -> None:
    """grpc.aio."""
    interceptors = [Passing()] if "passing" in ways else [Wrapping()] if "wrapping" in ways else []
    options = [option for way in sorted(ways) for option in OPTIONS.get(way, [])]
    server = grpc.aio.server(
        interceptors=interceptors,
        options=[("grpc.so_reuseport", 0), *options],
        maximum_concurrent_rpcs=1000 if "concurrent" in ways else None,
        migration_thread_pool=ThreadPoolExecutor(1) if "sync" in ways else None,
    )
    if "generic" in ways:
        server.add_generic_rpc_handlers((Generic(),))
    elif "bytes" in ways:
        server.add_generic_rpc_handlers((Bytes(),))
    elif "unregistered" in ways:
        handler = grpc.unary_unary_rpc_method_handler(
            Echo().CloseSession, pb.CloseSessionRequest.FromString, pb.CloseSessionResponse.SerializeToString
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("gateway.v1.SessionService", {"CloseSession": handler}),)
        )
    else:
        add_SessionServiceServicer_to_server(SyncEcho() if "sync" in ways else Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


def threads(ways: set[str]) -> None:
    """grpcio's synchronous server; with `handover` each call is carried out on an event loop of another thread."""
    loop = None
    if "handover" in ways:
        loop = uvloop.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()

    class Handing(SyncEcho):
        def CloseSession(self, request: pb.CloseSessionRequest, context: Any) -> pb.CloseSessionResponse:  # noqa: N802
            assert loop is not None
            return asyncio.run_coroutine_threadsafe(Echo().CloseSession(request, None), loop).result()

    server = grpc.server(ThreadPoolExecutor(64 if loop else 4), options=[("grpc.so_reuseport", 0)])
    add_SessionServiceServicer_to_server(Handing() if loop else SyncEcho(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    chosen = set(sys.argv[1:])
    if "threads" in chosen:
        threads(chosen)
    elif "asyncio" in chosen:
        asyncio.run(aio(chosen))
    else:
        uvloop.run(aio(chosen))
