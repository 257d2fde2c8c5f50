"""The only place where things are wired together: from Settings to a gateway that serves, and back down again."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from adapters.registry import Registry
from gateway.callbacks.handler import CallbackHandler
from gateway.callbacks.processor import CallbackProcessor
from gateway.callbacks.redelivery import Redeliveries
from gateway.callbacks.server import CallbackServer, ConnectionLimits
from gateway.config import (
    CallbackSettings,
    Changes,
    ConfigInvalid,
    GrpcServerKind,
    GrpcSettings,
    JournalSettings,
    Listen,
    Settings,
    changes,
    takes_restart,
)
from gateway.masking.by_value import KnownSecrets
from gateway.outbound.client import ProviderClient
from gateway.rpc import server as rpc
from gateway.rpc.event_stream import EventStreams
from gateway.rpc.limits import RpcLimits
from gateway.rpc.provider_service import ProviderService
from gateway.rpc.reconciliation_service import ReconciliationService
from gateway.rpc.session_service import SessionService
from gateway.rpc.transaction_service import TransactionService
from gateway.rpc.wallet_service import WalletService
from gateway.server.dialects import ProviderBinding
from gateway.server.fitting import validate
from gateway.server.providers import callback_guard, callback_routes, provider_of, rebuild_provider
from gateway.server.tls import Certificates
from gateway.server.validation import changed_wallet, missing_providers, secrets_of
from gateway.server.wallets import wallet_of
from gateway.sessions.close_service import CloseService
from gateway.sessions.provider import Provider, Providers
from gateway.sessions.provider_switch import ProviderSwitches
from gateway.store.base import Store, StoreUnavailable
from gateway.store.factory import open_store
from gateway.store.housekeeping import Housekeeping
from gateway.telemetry.admin import AdminServer
from gateway.telemetry.metrics import Metrics, ProviderStatus
from gateway.telemetry.tracing import open_traces
from gateway.wallet.base import WalletUnavailable
from gateway.wallet.builtin import BuiltinWallet

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
    several, which listen on the same ports. `secrets` are those that the log masks: what it is configured with is added
    to them. Raises ConfigInvalid.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry | None = None,
        *,
        shares_ports: bool = False,
        secrets: KnownSecrets | None = None,
    ) -> None:
        self._registry = registry
        self._served = validate(settings, registry)
        self._settings = settings
        self._shares_ports = shares_ports
        self._metrics = Metrics()
        self._traces = open_traces(settings.traces.endpoint, settings.traces.sample_ratio)
        self._secrets = secrets or KnownSecrets(())
        self._secrets.learn(secrets_of(settings))
        self.store: Store = open_store(settings.store.url.reveal(), settings.store.pool_size, self._metrics)
        self.provider_switches = ProviderSwitches(self.store, now)
        self.providers = Providers(
            {
                name: provider_of(dialect, self._secrets, self.provider_switches.of(name))
                for name, dialect in self._served.items()
            }
        )
        self._certificates = Certificates()
        self.wallet = wallet_of(settings.wallet, self.store, now)
        self.close_service = CloseService(self.store, self.providers, now, self._metrics)
        self.event_streams = EventStreams(self.store, self._metrics)
        routes = callback_routes(self.providers)
        self.callback_processor = CallbackProcessor(self.wallet, self.store, now)
        self._redeliveries = Redeliveries(routes, self.callback_processor, self.store, now)
        self._callback_handler = CallbackHandler(
            routes,
            callback_guard(self._served, settings.callbacks),
            self.callback_processor,
            now,
            body_limit=settings.callbacks.max_body_bytes,
            metrics=self._metrics,
            traces=self._traces,
        )
        self.callback_server = CallbackServer(self._callback_handler, _connection_limits(settings.callbacks))
        self.rpc_server = rpc.RpcServer(
            self._servicers(),
            event_streams=self.event_streams,
            providers=self.providers,
            shares_port=shares_ports,
            native=settings.grpc.server is GrpcServerKind.NATIVE,
            limits=rpc_limits(settings.grpc),
            traces=self._traces,
        )
        self.housekeeping = Housekeeping(
            self.store,
            now,
            alone=settings.store.is_sqlite,
            keep_bodies=_keep_bodies(settings.journal),
        )
        self._metrics.watch_providers(self._provider_states)
        self._metrics.watch_rpcs(lambda: self.rpc_server.in_flight)
        self._admin = AdminServer(self._metrics, self._readiness_problems)
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
        self.close_service.cap_deadlines(asyncio.get_running_loop().time() + PROVIDERS_GRACE_S)
        await asyncio.gather(self.callback_server.stop(), self.rpc_server.stop(STOP_GRACE_S))
        await self.close_service.drain()
        for provider in self.providers.values():
            await provider.client.close()
        await self.wallet.close()
        await self.provider_switches.stop()
        await self.housekeeping.stop()
        await self.store.close()
        if self._traces is not None:
            await self._traces.close()
        await self._admin.stop()

    async def reload(self, settings: Settings) -> Changes:
        """Take another configuration on while it serves: all of it in one step, or nothing. Answers what changed.

        What is under way goes on as it began. Raises ConfigInvalid, StoreUnavailable, and whatever an adapter raises
        that cannot even say TRY_AGAIN.
        """
        found = changes(self._settings, settings)
        impossible = (*takes_restart(found), *missing_providers(await self.store.money_providers(), settings))
        served = await asyncio.to_thread(validate, settings, self._registry, impossible)
        renew_certificates = await asyncio.to_thread(self._certificates.read)
        self._secrets.learn(secrets_of(settings))
        providers = {name: self._provider(dialect) for name, dialect in served.items()}
        routes, guard = callback_routes(providers), callback_guard(served, settings.callbacks)
        before = self._clients()
        for provider in providers.values():
            if provider.client not in before:
                await provider.client.start()
        await self.store.remember_providers(frozenset(settings.providers))
        # From here to the end nothing waits, so that nobody sees a part of it, and nothing fails.
        renew_certificates()
        self._callback_handler.replace(routes, guard, settings.callbacks.max_body_bytes)
        self.callback_server.limits = _connection_limits(settings.callbacks)
        self.rpc_server.set_limits(rpc_limits(settings.grpc))
        self._redeliveries.replace(routes)
        for name, provider in providers.items():
            if provider is not self.providers.get(name):
                limited = served[name].settings
                provider.admission.set_limits(limited.limits, limited.retry, limited.breaker)
        self.providers.replace(providers)
        for client in before - self._clients():
            client.retire()
        self.housekeeping.keep_bodies = _keep_bodies(settings.journal)
        self._settings, self._served = settings, served
        return found

    def _provider(self, dialect: ProviderBinding) -> Provider:
        """A provider as it is configured from here on."""
        name = dialect.settings.name
        if name not in self.providers:
            return provider_of(dialect, self._secrets, self.provider_switches.of(name))
        return rebuild_provider(self.providers[name], self._served[name], dialect, self._secrets)

    def _clients(self) -> frozenset[ProviderClient]:
        return frozenset(provider.client for provider in self.providers.values())

    async def _start(self) -> Listening:
        await self.store.open()
        if problems := (
            *missing_providers(await self.store.money_providers(), self._settings),
            *changed_wallet(await self.store.wallet_kinds(), self._settings),
        ):
            raise ConfigInvalid(problems)
        await self.store.remember_providers(frozenset(self._settings.providers))
        await self.provider_switches.start()
        self.housekeeping.start()
        for provider in self.providers.values():
            await provider.client.start()
        await self.wallet.start()
        grpc_at, callbacks_at, admin_at = (
            self._settings.grpc.listen,
            self._settings.callbacks.listen,
            self._settings.admin.listen,
        )
        admin_port = await self._admin.start(admin_at.host, admin_at.port)
        callbacks_port = await self.callback_server.start(
            callbacks_at.host,
            callbacks_at.port,
            self._certificates.of_callbacks(self._settings.callbacks.tls),
            shares_port=self._shares_ports,
        )
        grpc_port = await self.rpc_server.start(
            grpc_at.host, grpc_at.port, self._certificates.of_rpc(self._settings.grpc, self.rpc_server)
        )
        self._obstacle = ""
        return Listening(
            grpc=str(Listen(grpc_at.host, grpc_port)),
            callbacks=str(Listen(callbacks_at.host, callbacks_port)),
            admin=str(Listen(admin_at.host, admin_port)),
        )

    def _servicers(self) -> list[rpc.Servicer]:

        def deadline_s() -> float:
            return self._settings.grpc.default_deadline_s

        servicers: list[rpc.Servicer] = [
            SessionService(self.close_service, self.event_streams, self.providers, deadline_s),
            ReconciliationService(self.store, self._redeliveries, now, deadline_s),
            TransactionService(self.store, deadline_s),
            ProviderService(self.provider_switches, self.store, self.providers, deadline_s),
        ]
        if isinstance(self.wallet, BuiltinWallet):
            servicers.append(WalletService(self.wallet, deadline_s))
        return servicers

    def _provider_states(self) -> list[ProviderStatus]:
        """What a scrape of the metrics sees of the providers."""
        return [
            ProviderStatus(
                name,
                provider.admission.in_flight,
                provider.admission.queued,
                provider.admission.circuit,
                disabled=provider.enabled_state.disabled is not None,
            )
            for name, provider in self.providers.items()
        ]

    async def _readiness_problems(self) -> tuple[str, ...]:
        """What keeps the gateway from being ready; never a provider's sickness."""
        if self._obstacle:
            return (self._obstacle,)
        if not self.callback_server.accepting:
            return ("callbacks are not accepted",)
        try:
            await self.store.ping()
            await self.wallet.ready()
        except (StoreUnavailable, WalletUnavailable) as error:
            return (str(error),)
        return ()


def _keep_bodies(journal: JournalSettings) -> timedelta | None:
    return timedelta(days=journal.body_retention_days) if journal.body_retention_days else None


def _connection_limits(settings: CallbackSettings) -> ConnectionLimits:
    return ConnectionLimits(settings.max_connections, settings.receive_timeout_s)


def rpc_limits(settings: GrpcSettings) -> RpcLimits:
    """What callers of a gRPC listener may use together."""
    return RpcLimits(
        calls=settings.max_calls,
        event_streams=settings.max_event_streams,
        message_bytes=settings.max_message_bytes,
        connection_age_s=settings.max_connection_age_s,
    )
