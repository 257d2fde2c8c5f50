"""The only place where things are wired together: from Settings to a gateway that serves, and back down again."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ssl import SSLContext

from adapters.registry import Registry
from gateway.app.dialects import Dialect, dialects
from gateway.app.surroundings import exchanged, forgotten, secrets_of, ssl_context, unloadable
from gateway.app.wallets import calls_itself, wallet_of
from gateway.callbacks.guard import CallbackGuard, Door
from gateway.callbacks.handler import CallbackHandler
from gateway.callbacks.judge import Judge
from gateway.callbacks.provider import CallbackProvider, routes_of
from gateway.callbacks.redelivery import Redeliveries
from gateway.callbacks.server import CallbackServer, ConnectionLimits
from gateway.config import ConfigInvalid, FrontEnd, GrpcSettings, Listen, Settings
from gateway.outbound.client import Endpoint, ProviderClient
from gateway.outbound.gate import Gate
from gateway.rpc import server as rpc
from gateway.rpc.limits import RpcLimits
from gateway.rpc.provider_service import ProviderService
from gateway.rpc.reconciliation_service import ReconciliationService
from gateway.rpc.session_service import SessionService
from gateway.rpc.transaction_service import TransactionService
from gateway.rpc.wallet_service import WalletService
from gateway.rpc.watching import Watching
from gateway.sessions.closing import Closing
from gateway.sessions.provider import Provider
from gateway.sessions.switch import Switch, Switches
from gateway.store.housekeeping import Housekeeping
from gateway.store.interface import Store, StoreUnavailable
from gateway.store.open import open_store
from gateway.telemetry.admin import AdminServer
from gateway.telemetry.known_values import KnownValues
from gateway.telemetry.masking import Mask
from gateway.telemetry.metrics import Metrics, ProviderState
from gateway.telemetry.tracing import open_traces
from gateway.wallet.builtin import BuiltinWallet
from gateway.wallet.interface import WalletUnavailable

STOP_GRACE_S = 8.0
"""What is in flight when the gateway is told to stop has this long to finish."""

PROVIDERS_GRACE_S = 7.0
"""A provider that is being asked has this long to answer; then the caller is told that the outcome is unknown."""


class CannotStart(Exception):
    """The gateway does not start: the message says what is in its way, and what to do."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the gateway can be reached, with the ports that were really taken."""

    grpc: str
    callbacks: str
    admin: str


def now() -> datetime:
    """The gateway's clock."""
    return datetime.now(UTC)


class Gateway:
    """One gateway: built from settings, started once, stopped once.

    `registry` is for tests; the adapters that are installed otherwise. `shares_ports` where it is one worker of
    several, which listen on the same ports. Raises ConfigInvalid.
    """

    def __init__(self, settings: Settings, registry: Registry | None = None, *, shares_ports: bool = False) -> None:
        if problems := (*unloadable(settings), *calls_itself(settings)):
            raise ConfigInvalid(problems)
        self._settings = settings
        self._shares_ports = shares_ports
        self._metrics = Metrics()
        self._traces = open_traces(settings.traces.endpoint, settings.traces.sample_ratio)
        served = dialects(settings, registry)
        secrets = KnownValues(secrets_of(settings))
        self._store: Store = open_store(settings.store.url.reveal(), settings.store.pool_size, self._metrics)
        self._switches = Switches(self._store, now)
        self._providers = {
            name: _provider(dialect, secrets, self._switches.of(name)) for name, dialect in served.items()
        }
        self._wallet = wallet_of(settings.wallet, self._store, now)
        self._closing = Closing(self._store, self._providers, now, self._metrics)
        self._watching = Watching(self._store, self._metrics)
        self._routes = routes_of(
            CallbackProvider(provider.adapter, provider.account, provider.mask) for provider in self._providers.values()
        )
        self._judge = Judge(self._wallet, self._store, now)
        self._callbacks = CallbackServer(
            self._callback_handler(served),
            ConnectionLimits(settings.callbacks.max_connections, settings.callbacks.receive_timeout_s),
        )
        self._rpc = rpc.RpcServer(
            self._servicers(),
            watching=self._watching,
            providers=self._providers.values(),
            shares_port=shares_ports,
            lean=settings.grpc.front_end is FrontEnd.HTTP2,
            limits=rpc_limits(settings.grpc),
            traces=self._traces,
        )
        self._housekeeping = Housekeeping(
            self._store,
            now,
            alone=settings.store.is_sqlite,
            keep_bodies=timedelta(days=days) if (days := settings.journal.keep_bodies_days) else None,
        )
        self._metrics.watch_providers(self._provider_states)
        self._metrics.watch_rpcs(lambda: self._rpc.under_way)
        self._admin = AdminServer(self._metrics, self._obstacles)
        self._obstacle = "starting"

    async def start(self) -> Listening:
        """Open the store, take the ports, and serve. Raises CannotStart, and leaves nothing open then."""
        try:
            return await self._start()
        except (StoreUnavailable, OSError, rpc.CannotListen) as error:
            await self.stop()
            raise CannotStart(str(error)) from error
        except BaseException:  # also where it is told to stop meanwhile
            await self.stop()
            raise

    async def stop(self) -> None:
        """Take no more, finish what is in flight, end the streams, and close: nothing acknowledged is lost."""
        self._obstacle = "stopping"
        self._closing.hurry(asyncio.get_running_loop().time() + PROVIDERS_GRACE_S)
        await asyncio.gather(self._callbacks.stop(), self._rpc.stop(STOP_GRACE_S))
        await self._closing.drain()
        for provider in self._providers.values():
            await provider.client.close()
        await self._wallet.close()
        await self._switches.stop()
        await self._housekeeping.stop()
        await self._store.close()
        if self._traces is not None:
            await self._traces.close()
        await self._admin.stop()

    async def _start(self) -> Listening:
        await self._store.open()
        if problems := (
            *forgotten(await self._store.money_providers(), self._settings),
            *exchanged(await self._store.creditors(), self._settings),
        ):
            raise ConfigInvalid(problems)
        await self._store.remember_providers(frozenset(self._settings.providers))
        await self._switches.start()
        self._housekeeping.start()
        for provider in self._providers.values():
            await provider.client.start()
        await self._wallet.start()
        grpc_at, callbacks_at, admin_at = (
            self._settings.grpc.listen,
            self._settings.callbacks.listen,
            self._settings.admin.listen,
        )
        callbacks_tls = self._settings.callbacks.tls
        admin_port = await self._admin.start(admin_at.host, admin_at.port)
        callbacks_port = await self._callbacks.start(
            callbacks_at.host,
            callbacks_at.port,
            ssl_context(callbacks_tls) if callbacks_tls else None,
            shares_port=self._shares_ports,
        )
        grpc_port = await self._rpc.start(grpc_at.host, grpc_at.port, rpc_tls(self._settings.grpc))
        self._obstacle = ""
        return Listening(
            grpc=str(Listen(grpc_at.host, grpc_port)),
            callbacks=str(Listen(callbacks_at.host, callbacks_port)),
            admin=str(Listen(admin_at.host, admin_port)),
        )

    def _servicers(self) -> list[rpc.Servicer]:
        deadline_s = self._settings.grpc.default_deadline_s
        redeliveries = Redeliveries(self._routes, self._judge, self._store, now)
        servicers: list[rpc.Servicer] = [
            SessionService(self._closing, self._watching, self._providers, deadline_s),
            ReconciliationService(self._store, redeliveries, now, deadline_s),
            TransactionService(self._store, deadline_s),
            ProviderService(self._switches, self._store, self._providers, deadline_s),
        ]
        if isinstance(self._wallet, BuiltinWallet):
            servicers.append(WalletService(self._wallet, deadline_s))
        return servicers

    def _callback_handler(self, served: Mapping[str, Dialect]) -> CallbackHandler:
        settings = self._settings.callbacks
        doors = {
            name: Door(dialect.settings.callback_keys, dialect.settings.callback_sources)
            for name, dialect in served.items()
        }
        return CallbackHandler(
            self._routes,
            CallbackGuard(doors, settings.trusted_proxies),
            self._judge,
            now,
            body_limit=settings.max_body_bytes,
            metrics=self._metrics,
            traces=self._traces,
        )

    def _provider_states(self) -> list[ProviderState]:
        """What a scrape of the metrics sees of the providers."""
        return [
            ProviderState(
                name,
                provider.gate.under_way,
                provider.gate.waiting,
                provider.gate.circuit,
                switched_off=provider.switch.off is not None,
            )
            for name, provider in self._providers.items()
        ]

    async def _obstacles(self) -> tuple[str, ...]:
        """What keeps the gateway from being ready; never a provider's sickness."""
        if self._obstacle:
            return (self._obstacle,)
        if not self._callbacks.accepting:
            return ("callbacks are not accepted",)
        try:
            await self._store.ping()
            await self._wallet.ready()
        except (StoreUnavailable, WalletUnavailable) as error:
            return (str(error),)
        return ()


def _provider(dialect: Dialect, secrets: KnownValues, switch: Switch) -> Provider:
    settings = dialect.settings
    endpoint = Endpoint(
        provider=settings.name,
        base_url=settings.base_url,
        allow_private_addresses=settings.allow_private_addresses,
        connect_timeout_s=settings.limits.connect_timeout_s,
        connections=settings.limits.concurrent_calls,
    )
    return Provider(
        name=settings.name,
        adapter=dialect.adapter,
        account=dialect.account,
        client=ProviderClient(endpoint),
        mask=Mask(dialect.adapter.masked, secrets),
        gate=Gate(settings.name, settings.limits, settings.retry, settings.breaker),
        switch=switch,
    )


def rpc_limits(settings: GrpcSettings) -> RpcLimits:
    """What callers of a gRPC listener may use together."""
    return RpcLimits(
        calls=settings.max_calls,
        event_streams=settings.max_event_streams,
        message_bytes=settings.max_message_bytes,
        connection_age_s=settings.max_connection_age_s,
    )


def rpc_tls(settings: GrpcSettings) -> rpc.TlsFiles | SSLContext | None:
    """The TLS of a gRPC listener, as its front end takes it. Raises OSError."""
    files = settings.tls
    if files is None:
        return None
    if settings.front_end is FrontEnd.HTTP2:
        return ssl_context(files)
    return rpc.TlsFiles(
        files.cert.read_bytes(), files.key.read_bytes(), files.client_ca.read_bytes() if files.client_ca else None
    )
