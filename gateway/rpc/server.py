"""The gRPC server: services, health, reflection, TLS, and a graceful stop."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from gateway.rpc.callers import Callers
from gateway.rpc.event_stream import EventStreams
from gateway.rpc.health import HealthService
from gateway.rpc.interceptor import RpcInterceptor
from gateway.rpc.limits import (
    CONNECTION_AGE_GRACE_S,
    CONNECTION_IDLE_S,
    FLUSH_S,
    HANDSHAKE_TIMEOUT_S,
    KEEPALIVE_TIME_S,
    KEEPALIVE_TIMEOUT_S,
    LOOKAHEAD_BYTES,
    MAX_METADATA_BYTES,
    MIN_PING_INTERVAL_S,
    RpcLimits,
)
from gateway.rpc.receiving import RequestReceiver
from gateway.rpc.reflection import LimitedReflection
from gateway.rpc.unix_socket import binding
from gateway.sessions.provider import Provider, Providers
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Tracer

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]


class Servicer(Protocol):
    """The implementation of one service. Health and reflection take the service's name from what it adds."""

    def add_to(self, server: Any) -> None:
        """Add the handlers to a server, by the generated function of the service."""
        ...


REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
"""Its messages are those of v1alpha. grpcio has no module for it."""

HealthStatus = health_pb2.HealthCheckResponse


class CannotListen(Exception):
    """The address is in use, or is not an address of this host."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM texts: certificate, key, and the CA of client certificates where these are required."""

    cert: bytes
    key: bytes
    client_ca: bytes | None = None

    def __repr__(self) -> str:
        return "TlsFiles(***)"


class RpcServer:
    """The gRPC server of a gateway.

    `event_streams` end when it stops. gRPC health reports each of `providers`. With `shares_port` other workers of this
    gateway can listen on the same port. `native` selects pygrpc-native, which has no TLS, and no maximum of connections
    or of their age; otherwise grpcio serves. Without `callers` everyone may call everything.
    `with_reflection` lists the services.
    """

    def __init__(
        self,
        servicers: Sequence[Servicer],
        *,
        event_streams: EventStreams | None = None,
        providers: Providers | None = None,
        shares_port: bool = False,
        native: bool = False,
        limits: RpcLimits | None = None,
        traces: Tracer | None = None,
        callers: Callers | None = None,
        metrics: Metrics | None = None,
        with_reflection: bool = True,
    ) -> None:
        limits = limits or RpcLimits()
        self._event_streams = event_streams
        self._providers = providers if providers is not None else Providers({})
        self._health = HealthService()
        self._new_tls: TlsFiles | None = None
        """For connections from now on."""
        self._interceptor = RpcInterceptor(limits, traces, callers, metrics)
        self._receiver = RequestReceiver()
        self._native = native
        self._server = _native_server(shares_port, limits) if native else _grpcio_server(shares_port, limits)
        collector = _HandlerCollector()
        for servicer in servicers:
            servicer.add_to(collector)
        self._services = tuple(collector.services)
        for service, handlers in collector.services.items():
            intercepted = {
                name: self._interceptor.wrap(f"/{service}/{name}", handler) for name, handler in handlers.items()
            }
            self._register(service, intercepted)
        health_collector = _HandlerCollector()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, health_collector)
        for service, handlers in health_collector.services.items():
            self._register(service, handlers)
        if with_reflection:
            _add_reflection((*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    @property
    def in_flight(self) -> int:
        """Calls in flight, including event streams."""
        return self._interceptor.in_flight

    async def start(self, host: str, port: int, tls: TlsFiles | None) -> int:
        """Accept calls. Port 0 takes a free port. Returns the port. Raises CannotListen."""
        bound = self._bind(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", tls)
        await self._serve()
        return bound

    async def start_on_socket(self, path: Path, tls: TlsFiles | None) -> None:
        """Accept calls on a Unix socket. Replaces the socket file of a gateway that has ended. Raises CannotListen."""
        address = f"unix:{path}"
        try:
            with binding(path):
                self._bind(address, tls)
        except OSError as error:
            raise CannotListen(f"gRPC cannot listen on {address}: {error.strerror or error}") from error
        await self._serve()

    async def _serve(self) -> None:
        self._health.set(dict.fromkeys(self._services, HealthStatus.SERVING))
        self._watch_providers({})
        self._providers.listeners.append(self._watch_providers)
        await self._server.start()

    @property
    def limits(self) -> RpcLimits:
        """The limits on calls and event streams."""
        return self._interceptor.limits

    def set_limits(self, limits: RpcLimits) -> None:
        """Replace the limits on calls and event streams. Those on messages and connections stay as at the start."""
        self._interceptor.limits = limits

    def set_callers(self, callers: Callers | None) -> None:
        """Replace the callers. Open streams that these do not allow end."""
        self._interceptor.access.replace(callers)

    def renew_tls(self, tls: TlsFiles) -> None:
        """Use another certificate for connections from now on."""
        self._new_tls = tls

    async def stop(self, grace_s: float) -> None:
        """Reject new calls, end the event streams, wait up to `grace_s` for calls in flight, and disconnect."""
        self._health.stop()
        if self._event_streams is not None:
            self._event_streams.stop()
        stopping: asyncio.Task[None] | None = None
        if self._native:  # a second stop() could not shorten the grace of the first one
            self._interceptor.stopping = True
        else:
            stopping = asyncio.create_task(self._server.stop(grace_s))
            await asyncio.sleep(0)  # it begins before the second one
        with suppress(TimeoutError):
            await asyncio.wait_for(self._interceptor.idle(), grace_s)
        # Watches of health, reflection and silent connections are left. They would take the whole grace.
        await self._server.stop(FLUSH_S)
        if stopping is not None:
            await stopping

    def _register(self, service: str, handlers: "Mapping[str, Handler]") -> None:
        if not self._native:  # that one calls a handler when the request is complete
            handlers = {name: self._receiver.wrap(handler) for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, dict(handlers))

    def _bind(self, address: str, tls: TlsFiles | None) -> int:
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            credentials = grpc.dynamic_ssl_server_credentials(
                _certificate(tls), self._changed_certificate, tls.client_ca is not None
            )
            return self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise CannotListen(f"gRPC cannot listen on {address}: {error}") from error

    def _changed_certificate(self) -> Any:  # the stubs do not allow None
        """Called by grpcio on its own thread for each connection; None where the certificate has not changed."""
        tls, self._new_tls = self._new_tls, None
        return None if tls is None else _certificate(tls)

    def _watch_providers(self, before: Mapping[str, Provider]) -> None:
        """Report the health of the present providers, now and after each change; those removed become unknown."""
        self._health.set(dict.fromkeys(before.keys() - self._providers.keys(), HealthStatus.SERVICE_UNKNOWN))
        for provider in self._providers.values():
            provider.watch(self._report_providers)
        self._report_providers()

    def _report_providers(self, *_: object) -> None:
        self._health.set(
            {
                name: HealthStatus.SERVING if provider.healthy else HealthStatus.NOT_SERVING
                for name, provider in self._providers.items()
            }
        )


class _HandlerCollector:
    """Takes the place of a server in generated code: it collects the method handlers of each service."""

    def __init__(self) -> None:
        self.services: dict[str, Mapping[str, Handler]] = {}
        """By the service's full name."""

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Generated code also passes the same handlers by name."""

    def add_registered_method_handlers(self, service: str, handlers: "Mapping[str, Handler]") -> None:
        self.services[service] = handlers


def _add_reflection(services: Sequence[str], server: grpc.aio.Server) -> None:
    """Serve the descriptors of these services, by reflection v1alpha and v1."""
    servicer = LimitedReflection(services)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    info = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_registered_method_handlers(REFLECTION_V1, {"ServerReflectionInfo": info})


def _options(shares_port: bool, limits: RpcLimits) -> dict[str, int]:
    """Options of both servers."""
    return {
        # Without this a second gateway on the same port silently takes half of the calls.
        "grpc.so_reuseport": int(shares_port),
        "grpc.max_receive_message_length": limits.message_bytes,
        "grpc.max_concurrent_streams": limits.calls_on_a_connection,
        "grpc.keepalive_time_ms": round(KEEPALIVE_TIME_S * 1000),
        "grpc.keepalive_timeout_ms": round(KEEPALIVE_TIMEOUT_S * 1000),
        # Between the soft limit and the hard one grpcio rejects at random.
        "grpc.max_metadata_size": MAX_METADATA_BYTES,
        "grpc.absolute_max_metadata_size": MAX_METADATA_BYTES,
    }


def _grpcio_server(shares_port: bool, limits: RpcLimits) -> grpc.aio.Server:
    options = _options(shares_port, limits) | {
        "grpc.max_allowed_incoming_connections": limits.connections,
        # What may arrive of a request before it is read; the probe would raise it with the bandwidth.
        "grpc.http2.lookahead_bytes": LOOKAHEAD_BYTES,
        "grpc.http2.bdp_probe": 0,
        "grpc.max_connection_idle_ms": round(CONNECTION_IDLE_S * 1000),
        "grpc.server_handshake_timeout_ms": round(HANDSHAKE_TIMEOUT_S * 1000),
        "grpc.http2.min_ping_interval_without_data_ms": round(MIN_PING_INTERVAL_S * 1000),
    }
    if limits.connection_age_s is not None:  # grpcio varies it by up to a tenth
        options["grpc.max_connection_age_ms"] = round(limits.connection_age_s * 1000)
        options["grpc.max_connection_age_grace_ms"] = round(CONNECTION_AGE_GRACE_S * 1000)
    return grpc.aio.server(options=list(options.items()))


def _native_server(shares_port: bool, limits: RpcLimits) -> grpc.aio.Server:
    from gateway.rpc.native import NativeServer  # noqa: PLC0415 - an extra that may not be installed

    return NativeServer(options=list(_options(shares_port, limits).items()))


def _certificate(tls: TlsFiles) -> "grpc.ServerCertificateConfiguration":
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.cert)], root_certificates=tls.client_ca)
