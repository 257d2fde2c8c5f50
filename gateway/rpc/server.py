"""The gRPC server: services, health, reflection, TLS, and an orderly stop."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from gateway.rpc.event_stream import EventStreams
from gateway.rpc.health import HealthService
from gateway.rpc.interceptor import RpcInterceptor
from gateway.rpc.limits import (
    CONNECTION_AGE_GRACE_S,
    CONNECTIONS,
    HANDSHAKE_S,
    KEEPALIVE_TIME_S,
    KEEPALIVE_TIMEOUT_S,
    METADATA_BYTES,
    MIN_PING_INTERVAL_S,
    RpcLimits,
)
from gateway.sessions.provider import Provider
from gateway.sessions.providers import Providers
from gateway.v1.provider_service_pb2_grpc import ProviderServiceServicer, add_ProviderServiceServicer_to_server
from gateway.v1.reconciliation_service_pb2_grpc import (
    ReconciliationServiceServicer,
    add_ReconciliationServiceServicer_to_server,
)
from gateway.v1.session_service_pb2_grpc import SessionServiceServicer, add_SessionServiceServicer_to_server
from gateway.v1.transaction_service_pb2_grpc import TransactionServiceServicer, add_TransactionServiceServicer_to_server
from gateway.v1.wallet_service_pb2_grpc import WalletServiceServicer, add_WalletServiceServicer_to_server

if TYPE_CHECKING:
    from gateway.telemetry.otel import OtelTracer

Servicer = object
"""An instance of one of the classes in SERVICES."""

SERVICES: Sequence[tuple[type, Callable[[Any, Any], None]]] = (
    (SessionServiceServicer, add_SessionServiceServicer_to_server),
    (WalletServiceServicer, add_WalletServiceServicer_to_server),
    (ReconciliationServiceServicer, add_ReconciliationServiceServicer_to_server),
    (TransactionServiceServicer, add_TransactionServiceServicer_to_server),
    (ProviderServiceServicer, add_ProviderServiceServicer_to_server),
)
"""The services that can be served: the generated class of the servicer, and what adds it to a server. Health and
reflection take the service's name from there.
"""

REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
"""Its messages are those of v1alpha, field by field; grpcio has no module for it."""

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
    `shares_port` lets other workers of this gateway listen on the same port. `native` serves by pygrpc-native, without
    TLS, a connection age or a limit on connections; else grpcio does. `limits` bound what callers may use together.
    """

    def __init__(
        self,
        servicers: Sequence[Servicer],
        *,
        watching: EventStreams | None = None,
        providers: Providers | None = None,
        shares_port: bool = False,
        native: bool = False,
        limits: RpcLimits | None = None,
        traces: "OtelTracer | None" = None,
    ) -> None:
        limits = limits or RpcLimits()
        self._watching = watching
        self._health = HealthService()
        self._tls: TlsFiles | None = None
        """To be shown from the next connection on."""
        self._tellers: dict[str, Callable[..., None]] = {}
        """One for each name, so that none is told of twice."""
        self._calls = RpcInterceptor(limits, traces)
        self._native = native
        self._server = _native(shares_port, limits) if native else _grpcio(shares_port, limits)
        registrar = _Registrar(self._server, self._calls)
        for servicer in servicers:
            _add(servicer, registrar)
        self._services = tuple(registrar.services)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        _add_reflection((*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        self._providers = providers if providers is not None else Providers({})

    @property
    def in_flight(self) -> int:
        """Calls that are being served, streams of events included."""
        return self._calls.in_flight

    async def start(self, host: str, port: int, tls: TlsFiles | None) -> int:
        """Accept calls; port 0 takes a free one. Answers the port. Raises CannotListen."""
        self._health.set(dict.fromkeys(self._services, health_pb2.HealthCheckResponse.SERVING))
        self._watch_providers({})
        self._providers.listeners.append(self._watch_providers)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = _bind(self._server, address, tls, self._renewed_tls)
        except RuntimeError as error:
            raise CannotListen(f"gRPC cannot listen on {address}: {error}") from error
        await self._server.start()
        return bound

    def set_limits(self, limits: RpcLimits) -> None:
        """Bound calls and streams anew, from the next one on. What bounds messages and connections stays as it was."""
        self._calls.limits = limits

    def renew_tls(self, tls: TlsFiles) -> None:
        """Show who connects from here on another certificate."""
        self._tls = tls

    def _renewed_tls(self) -> Any:  # its stubs know no None
        """Asked for each connection, on a thread of grpcio's; None where nothing has changed."""
        tls, self._tls = self._tls, None
        return None if tls is None else _certificate(tls)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, end the streams, let the others finish within the grace, and hang up."""
        self._health.stop()
        if self._watching is not None:
            self._watching.stop()
        ending = [asyncio.create_task(self._calls.idle())]
        if self._native:  # its grace cannot be shortened once it has begun
            self._calls.stopping = True
        else:
            ending.append(asyncio.create_task(self._server.stop(grace_s)))
        await asyncio.wait(ending, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        if self._native:  # it closes without waiting until its threads have written the last answers
            await asyncio.sleep(FLUSH_S)
        # What is left are watchers of health, reflection, and silent connections: they would take all of the grace.
        await self._server.stop(FLUSH_S)
        await asyncio.gather(*ending[1:])
        ending[0].cancel()

    def _watch_providers(self, before: Mapping[str, Provider]) -> None:
        """Tell of those that are served from here on otherwise than before, and of those that are not any more."""
        for name, provider in self._providers.items():
            if provider is not before.get(name):
                provider.watch(self._tellers.setdefault(name, partial(self._tell, name)))
                self._tell(name)
        for name in before.keys() - self._providers.keys():
            self._tell(name)

    def _tell(self, name: str, *_: object) -> None:
        self._health.set({name: _status(self._providers.get(name))})


def _status(provider: Provider | None) -> int:
    answer = health_pb2.HealthCheckResponse
    if provider is None:  # it was served before
        return int(answer.SERVICE_UNKNOWN)
    return int(answer.SERVING if provider.healthy else answer.NOT_SERVING)


class _Registrar:
    """What generated code registers a servicer with: each of its methods is served with our calls around it."""

    def __init__(self, server: grpc.aio.Server, calls: RpcInterceptor) -> None:
        self._server = server
        self._calls = calls
        self.services: list[str] = []
        """The full names of the services that were registered."""

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """The same handlers come by name too."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
    ) -> None:
        """Serve the methods of a service."""
        self.services.append(service)
        served = {name: self._calls.wrap(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, served),))
        self._server.add_registered_method_handlers(service, served)


def _add(servicer: Servicer, registrar: _Registrar) -> None:
    """Have a servicer served. Raises TypeError for one whose class is not in SERVICES."""
    for kind, add in SERVICES:
        if isinstance(servicer, kind):
            add(servicer, registrar)
            return
    raise TypeError(f"{type(servicer).__name__} cannot be served: add its generated class to SERVICES")


def _add_reflection(services: Sequence[str], server: grpc.aio.Server) -> None:
    """Serve the descriptions of these services, by v1alpha and by v1."""
    servicer = reflection.aio.ReflectionServicer(services)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    info = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_registered_method_handlers(REFLECTION_V1, {"ServerReflectionInfo": info})


def _options(shares_port: bool, limits: RpcLimits) -> dict[str, int]:
    """What both servers take."""
    return {
        # Unless workers are meant, a second gateway on the same port would silently take half of the calls.
        "grpc.so_reuseport": int(shares_port),
        "grpc.max_receive_message_length": limits.message_bytes,
        "grpc.max_concurrent_streams": limits.calls_on_a_connection,
        "grpc.keepalive_time_ms": round(KEEPALIVE_TIME_S * 1000),
        "grpc.keepalive_timeout_ms": round(KEEPALIVE_TIMEOUT_S * 1000),
        # Between the first limit and the second grpcio rejects at random.
        "grpc.max_metadata_size": METADATA_BYTES,
        "grpc.absolute_max_metadata_size": METADATA_BYTES,
    }


def _grpcio(shares_port: bool, limits: RpcLimits) -> grpc.aio.Server:
    options = _options(shares_port, limits) | {
        "grpc.max_allowed_incoming_connections": CONNECTIONS,
        "grpc.server_handshake_timeout_ms": round(HANDSHAKE_S * 1000),
        "grpc.http2.min_ping_interval_without_data_ms": round(MIN_PING_INTERVAL_S * 1000),
    }
    if limits.connection_age_s is not None:  # grpcio adds or takes up to a tenth by itself
        options["grpc.max_connection_age_ms"] = round(limits.connection_age_s * 1000)
        options["grpc.max_connection_age_grace_ms"] = round(CONNECTION_AGE_GRACE_S * 1000)
    return grpc.aio.server(options=list(options.items()))


def _native(shares_port: bool, limits: RpcLimits) -> grpc.aio.Server:
    from gateway.rpc.native import NativeServer  # noqa: PLC0415 - of an extra that need not be installed

    return NativeServer(options=list(_options(shares_port, limits).items()))


def _bind(
    server: grpc.aio.Server,
    address: str,
    tls: TlsFiles | None,
    renewed: Callable[[], Any],
) -> int:
    if tls is None:
        return server.add_insecure_port(address)
    credentials = grpc.dynamic_ssl_server_credentials(_certificate(tls), renewed, tls.client_ca is not None)
    return server.add_secure_port(address, credentials)


def _certificate(tls: TlsFiles) -> "grpc.ServerCertificateConfiguration":
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.cert)], root_certificates=tls.client_ca)
