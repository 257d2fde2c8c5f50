"""The gRPC server: services, health, reflection, TLS, and an orderly stop."""

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never, cast

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from gateway.rpc.event_stream import EventStreams
from gateway.rpc.interceptor import RpcInterceptor
from gateway.rpc.limits import (
    CONNECTION_AGE_GRACE_S,
    CONNECTIONS,
    HANDSHAKE_S,
    KEEPALIVE_TIME_S,
    KEEPALIVE_TIMEOUT_S,
    RpcLimits,
)
from gateway.sessions.provider import Provider, Providers
from gateway.v1 import (
    provider_service_pb2,
    reconciliation_service_pb2,
    session_service_pb2,
    transaction_service_pb2,
    wallet_service_pb2,
)
from gateway.v1.provider_service_pb2_grpc import ProviderServiceServicer, add_ProviderServiceServicer_to_server
from gateway.v1.reconciliation_service_pb2_grpc import (
    ReconciliationServiceServicer,
    add_ReconciliationServiceServicer_to_server,
)
from gateway.v1.session_service_pb2_grpc import SessionServiceServicer, add_SessionServiceServicer_to_server
from gateway.v1.transaction_service_pb2_grpc import TransactionServiceServicer, add_TransactionServiceServicer_to_server
from gateway.v1.wallet_service_pb2_grpc import WalletServiceServicer, add_WalletServiceServicer_to_server

if TYPE_CHECKING:
    from gateway.rpc.http2.server import Http2Server
    from gateway.telemetry.otel import OtelTracer

Servicer = (
    SessionServiceServicer
    | WalletServiceServicer
    | ReconciliationServiceServicer
    | TransactionServiceServicer
    | ProviderServiceServicer
)

FLUSH_S = 0.2
"""The last answers have this long to leave."""


class CannotListen(Exception):
    """The address is taken, or not ours."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM texts: our certificate and key, and the authority of callers' certificates where those are demanded."""

    cert: bytes
    key: bytes
    client_ca: bytes | None = None

    def __repr__(self) -> str:
        return "TlsFiles(***)"


class RpcServer:
    """The gRPC side of a gateway, from its first accepted call to its last answer.

    `watching` are the streams to end when it stops, `providers` those whose health is served beside the services'.
    `shares_port` lets other workers of this gateway listen on the same port. `lean` has it served by our own front end,
    in place of grpcio's. `limits` bound what callers may use together.
    """

    def __init__(
        self,
        servicers: Sequence[Servicer],
        *,
        watching: EventStreams | None = None,
        providers: Providers | None = None,
        shares_port: bool = False,
        lean: bool = False,
        limits: RpcLimits | None = None,
        traces: "OtelTracer | None" = None,
    ) -> None:
        limits = limits or RpcLimits()
        self._watching = watching
        self._health = health.aio.HealthServicer()
        self._health_changes: set[asyncio.Task[None]] = set()
        self._tls: TlsFiles | None = None
        """To be shown from the next connection on."""
        self._tellers: dict[str, Callable[..., None]] = {}
        """One for each name, so that none is told of twice."""
        self._calls = RpcInterceptor(limits, traces)
        self._server = _lean(shares_port, limits) if lean else _grpcio(shares_port, limits)
        self._services = tuple(_added(servicer, _Registrar(self._server, self._calls)) for servicer in servicers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflected = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.aio.ReflectionServicer(reflected), self._server
        )
        self._providers = providers if providers is not None else Providers({})

    @property
    def in_flight(self) -> int:
        """Calls that are being served, streams of events included."""
        return self._calls.in_flight

    async def start(self, host: str, port: int, tls: TlsFiles | ssl.SSLContext | None) -> int:
        """Accept calls; port 0 takes a free one. Answers the port. Raises CannotListen.

        `tls` are files for grpcio's front end, and a context for ours.
        """
        for name in ("", *self._services):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._watch_providers({})
        await asyncio.gather(*self._health_changes)
        self._providers.listeners.append(self._watch_providers)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if isinstance(self._server, grpc.aio.Server):
                bound = _bind(self._server, address, tls, self._renewed_tls)
            else:
                bound = self._server.bind(host, port, _context(tls))
        except (RuntimeError, OSError) as error:
            raise CannotListen(f"gRPC cannot listen on {address}: {error}") from error
        await self._server.start()
        return bound

    def set_limits(self, limits: RpcLimits) -> None:
        """Bound calls and streams anew, from the next one on. What bounds messages and connections stays as it was."""
        self._calls.limits = limits

    def renew_tls(self, tls: TlsFiles) -> None:
        """Show who connects from here on another certificate. For grpcio's front end; a context renews itself."""
        self._tls = tls

    def _renewed_tls(self) -> Any:  # its stubs know no None
        """Asked for each connection, on a thread of grpcio's; None where nothing has changed."""
        tls, self._tls = self._tls, None
        return None if tls is None else _certificate(tls)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, end the streams, let the others finish within the grace, and hang up."""
        # It waits for watchers that take nothing: they end with their connections.
        told = asyncio.create_task(self._health.enter_graceful_shutdown())
        await asyncio.wait({told}, timeout=FLUSH_S)
        if self._watching is not None:
            self._watching.stop()
        stopping = asyncio.create_task(self._server.stop(grace_s))
        idle = asyncio.create_task(self._calls.idle())
        await asyncio.wait({stopping, idle}, return_when=asyncio.FIRST_COMPLETED)
        # What is left are watchers of health, reflection, and silent connections: they would take all of the grace.
        await self._server.stop(FLUSH_S)
        await stopping
        idle.cancel()
        told.cancel()

    def _watch_providers(self, before: Mapping[str, Provider]) -> None:
        """Tell of those that are served from here on otherwise than before, and of those that are not any more."""
        for name, provider in self._providers.items():
            if provider is not before.get(name):
                provider.watch(self._tellers.setdefault(name, partial(self._tell, name)))
                self._tell(name)
        for name in before.keys() - self._providers.keys():
            self._tell(name)

    def _tell(self, name: str, *_: object) -> None:
        change = asyncio.get_running_loop().create_task(self._health.set(name, _status(self._providers.get(name))))
        self._health_changes.add(change)
        change.add_done_callback(self._health_changes.discard)


def _status(provider: Provider | None) -> int:
    answer = health_pb2.HealthCheckResponse
    if provider is None:  # it was served before
        return int(answer.SERVICE_UNKNOWN)
    return int(answer.SERVING if provider.healthy else answer.NOT_SERVING)


class _Registrar:
    """What generated code registers a servicer with: each of its methods is served with our calls around it."""

    def __init__(self, server: "grpc.aio.Server | Http2Server", calls: RpcInterceptor) -> None:
        self._server = server
        self._calls = calls

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """The same handlers come by name too."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
    ) -> None:
        """Serve the methods of a service."""
        served = {name: self._calls.wrap(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, served),))
        self._server.add_registered_method_handlers(service, served)


def _added(servicer: Servicer, registrar: _Registrar) -> str:
    """Have a servicer served; answers its service's full name."""
    server = cast("grpc.aio.Server", registrar)
    match servicer:
        case SessionServiceServicer():
            add_SessionServiceServicer_to_server(servicer, server)
            return _name(session_service_pb2.DESCRIPTOR)
        case WalletServiceServicer():
            add_WalletServiceServicer_to_server(servicer, server)
            return _name(wallet_service_pb2.DESCRIPTOR)
        case ReconciliationServiceServicer():
            add_ReconciliationServiceServicer_to_server(servicer, server)
            return _name(reconciliation_service_pb2.DESCRIPTOR)
        case TransactionServiceServicer():
            add_TransactionServiceServicer_to_server(servicer, server)
            return _name(transaction_service_pb2.DESCRIPTOR)
        case ProviderServiceServicer():
            add_ProviderServiceServicer_to_server(servicer, server)
            return _name(provider_service_pb2.DESCRIPTOR)
        case _:
            assert_never(servicer)


def _name(file: FileDescriptor) -> str:
    """The full name of a proto file's one service."""
    (service,) = file.services_by_name.values()
    return str(service.full_name)


def _grpcio(shares_port: bool, limits: RpcLimits) -> "grpc.aio.Server | Http2Server":
    options = {
        # Unless workers are meant, a second gateway on the same port would silently take half of the calls.
        "grpc.so_reuseport": int(shares_port),
        "grpc.max_receive_message_length": limits.message_bytes,
        "grpc.max_concurrent_streams": limits.calls_on_a_connection,
        "grpc.max_allowed_incoming_connections": CONNECTIONS,
        "grpc.server_handshake_timeout_ms": round(HANDSHAKE_S * 1000),
        "grpc.keepalive_time_ms": round(KEEPALIVE_TIME_S * 1000),
        "grpc.keepalive_timeout_ms": round(KEEPALIVE_TIMEOUT_S * 1000),
    }
    if limits.connection_age_s is not None:  # grpcio adds or takes up to a tenth by itself
        options["grpc.max_connection_age_ms"] = round(limits.connection_age_s * 1000)
        options["grpc.max_connection_age_grace_ms"] = round(CONNECTION_AGE_GRACE_S * 1000)
    return grpc.aio.server(options=list(options.items()))


def _lean(shares_port: bool, limits: RpcLimits) -> "grpc.aio.Server | Http2Server":
    from gateway.rpc.http2.limits import Limits  # noqa: PLC0415 - a start does not load what it does not serve by
    from gateway.rpc.http2.server import Http2Server  # noqa: PLC0415

    of_one = Limits(
        calls=limits.calls_on_a_connection, message_bytes=limits.message_bytes, age_s=limits.connection_age_s
    )
    return Http2Server(shares_port=shares_port, limits=of_one)


def _context(tls: TlsFiles | ssl.SSLContext | None) -> ssl.SSLContext | None:
    if isinstance(tls, TlsFiles):
        raise TypeError("our own front end takes its TLS as a context")
    return tls


def _bind(
    server: grpc.aio.Server,
    address: str,
    tls: TlsFiles | ssl.SSLContext | None,
    renewed: Callable[[], Any],
) -> int:
    if tls is None:
        return server.add_insecure_port(address)
    if isinstance(tls, ssl.SSLContext):
        raise TypeError("grpcio takes its TLS as files")
    credentials = grpc.dynamic_ssl_server_credentials(_certificate(tls), renewed, tls.client_ca is not None)
    return server.add_secure_port(address, credentials)


def _certificate(tls: TlsFiles) -> "grpc.ServerCertificateConfiguration":
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.cert)], root_certificates=tls.client_ca)
