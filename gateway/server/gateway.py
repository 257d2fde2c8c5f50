"""The composition root: builds a gateway from Settings, starts it, reloads it and stops it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from adapters.registry import Registry
from gateway.callbacks.handler import CallbackHandler
from gateway.callbacks.key_uses import KeyUses
from gateway.callbacks.processor import CallbackProcessor
from gateway.callbacks.redelivery import Redeliveries
from gateway.callbacks.routing import Routes
from gateway.callbacks.server import CallbackServer
from gateway.config import (
    Changes,
    ConfigInvalid,
    GrpcServerKind,
    GrpcSettings,
    JournalSettings,
    Listen,
    Settings,
    changes,
    requires_restart,
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
from gateway.server.callers import create_callers
from gateway.server.file_limits import fit_limits
from gateway.server.health_watch import HealthWatch, store_file
from gateway.server.listening import listen_grpc, listening_sockets
from gateway.server.providers import (
    ProviderBinding,
    callback_authenticator,
    callback_keys,
    callback_routes,
    connection_limits,
    create_provider,
    rebuild_provider,
    receives_results,
)
from gateway.server.series import NO_PROVIDER, expected_series
from gateway.server.tls import Certificates
from gateway.server.validation import changed_wallet, missing_providers, secrets_of, validate
from gateway.server.wallets import create_wallet
from gateway.sessions.close_service import CloseService
from gateway.sessions.provider import Provider, Providers
from gateway.sessions.provider_switch import ProviderSwitches
from gateway.store.base import Store, StoreUnavailable
from gateway.store.factory import open_store
from gateway.store.housekeeping import Housekeeping
from gateway.telemetry.admin import AdminServer
from gateway.telemetry.metrics import Metrics, ProviderStatus
from gateway.telemetry.tracer_factory import open_traces
from gateway.wallet.base import WalletUnavailable
from gateway.wallet.builtin import BuiltinWallet

STOP_GRACE_S = 8.0
"""Seconds for calls in flight to finish when the gateway stops."""

PROVIDERS_GRACE_S = 7.0
"""Seconds for a provider to answer when the gateway stops; then its caller learns that the outcome is unknown."""


class CannotStart(Exception):
    """The gateway cannot start: the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Listening:
    """The addresses of a started gateway, with the ports that the system chose."""

    grpc: str
    callbacks: str
    admin: str


def now() -> datetime:
    """The gateway's clock."""
    return datetime.now(UTC)


@asynccontextmanager
async def stopped_on_failure(stop: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Around a start: stops what was started when it fails or is cancelled. Raises CannotStart."""
    try:
        yield
    except (StoreUnavailable, OSError, rpc.CannotListen) as error:
        await stop()
        raise CannotStart(str(error)) from error
    except BaseException:
        await stop()
        raise


class Gateway:
    """One gateway: built from settings, started once, stopped once.

    `registry` holds the adapters; by default all that are installed. `shares_ports` lets other workers listen on the
    same ports. `secrets` are what the log masks: those of the settings are added. Raises ConfigInvalid.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry | None = None,
        *,
        shares_ports: bool = False,
        secrets: KnownSecrets | None = None,
    ) -> None:
        self._configured = settings
        settings = self._settings = fit_limits(settings)
        self._registry = registry
        self._bindings = validate(settings, registry)
        self._callers = create_callers(settings)
        self._shares_ports = shares_ports
        self._secrets = secrets or KnownSecrets(())
        self._secrets.learn(secrets_of(settings, self._bindings))
        self._metrics = Metrics()
        self._traces = open_traces(settings.traces.endpoint, settings.traces.sample_ratio)
        self._certificates = Certificates(settings)
        self.store: Store = open_store(
            settings.store.url.reveal(), settings.store.pool_size, self._metrics, settings.store.tls
        )
        self.provider_switches = ProviderSwitches(self.store, now)
        self.providers = Providers({name: self._create(binding) for name, binding in self._bindings.items()})
        self.wallet = create_wallet(settings.wallet, self.store, now)
        self.close_service = CloseService(self.store, self.providers, now, self._metrics)
        self.event_streams = EventStreams(self.store, self._metrics)
        self.callback_processor = CallbackProcessor(self.wallet, self.store, now)
        routes = callback_routes(self.providers, self._bindings)
        self._redeliveries = Redeliveries(routes, self.callback_processor, self.store, now)
        self._key_uses = KeyUses(callback_keys(self._bindings))
        self._callback_handler = self._create_callback_handler(routes)
        limits = connection_limits(self._bindings, settings.callbacks)
        self.callback_server = CallbackServer(self._callback_handler, limits)
        self.rpc_server = self._create_rpc_server()
        self.housekeeping = Housekeeping(
            self.store, now, alone=settings.store.is_sqlite, keep_bodies=_body_retention(settings.journal)
        )
        self._health_watch = HealthWatch(
            self.store, self._readiness_problems, now, store_file(settings.store), lambda: self.providers
        )
        self._metrics.watch_health(self._health_watch.health)
        self._metrics.watch_event_streams(lambda: self.event_streams.lag_s(now()))
        self._metrics.expect_engine("sqlite" if settings.store.is_sqlite else "postgresql")
        self._metrics.expect(NO_PROVIDER)
        self._expect_series()
        self._metrics.watch_providers(self._provider_statuses)
        self._metrics.watch_callback_keys(self._key_uses.samples)
        self._metrics.watch_rpcs(lambda: self.rpc_server.in_flight)
        self._metrics.watch_certificates(self._certificates.not_after)
        self._admin = AdminServer(self._metrics, self._readiness_problems)
        self._not_ready_because = "starting"

    async def start(self) -> Listening:
        """Open the store, listen, and serve. Raises CannotStart and ConfigInvalid, and leaves nothing open then."""
        async with stopped_on_failure(self.stop):
            await self.store.open()
            await self._check_store()
            await self.store.remember_providers(frozenset(self._settings.providers))
            await self.provider_switches.start()
            self.housekeeping.start()
            for provider in self.providers.values():
                await provider.client.start()
            await self.wallet.start()
            listening = await self._listen()
            self._not_ready_because = ""
            await self._health_watch.start()
            return listening

    async def stop(self) -> None:
        """Accept no more, finish what is in flight, end the streams, and close: nothing acknowledged is lost."""
        self._not_ready_because = "stopping"
        self.close_service.cap_deadlines(asyncio.get_running_loop().time() + PROVIDERS_GRACE_S)
        await asyncio.gather(self.callback_server.stop(), self.rpc_server.stop(STOP_GRACE_S))
        await self.close_service.drain()
        for provider in self.providers.values():
            await provider.client.close()
        await self.wallet.close()
        await self.provider_switches.stop()
        await self.housekeeping.stop()
        await self._health_watch.stop()
        await self.store.close()
        if self._traces is not None:
            await self._traces.close()
        await self._admin.stop()

    async def reload(self, settings: Settings) -> Changes:
        """Apply other settings while it serves: all of them in one step, or nothing. Returns what changed.

        Calls in flight finish under the settings that they began with. Raises ConfigInvalid, StoreUnavailable, and what
        an adapter raises that cannot encode TRY_AGAIN.
        """
        found = changes(self._configured, settings)
        configured, settings = settings, fit_limits(settings)
        conflicts = (*requires_restart(found), *missing_providers(await self.store.money_providers(), settings))
        bindings = await asyncio.to_thread(validate, settings, self._registry, conflicts)
        callers = await asyncio.to_thread(create_callers, settings, self._callers)
        apply_certificates = await asyncio.to_thread(self._certificates.read, settings)
        self._secrets.learn(secrets_of(settings, bindings))
        providers = {name: self._create_or_rebuild(binding) for name, binding in bindings.items()}
        routes, authenticator = (
            callback_routes(providers, bindings),
            callback_authenticator(bindings, settings.callbacks),
        )
        clients = self._clients()
        for provider in providers.values():
            if provider.client not in clients:
                await provider.client.start()
        await self.store.remember_providers(frozenset(settings.providers))
        # From here on nothing waits and nothing fails, so that no call sees a part of the new settings.
        apply_certificates()
        self._callback_handler.replace(routes, authenticator, settings.callbacks.max_body_bytes)
        self._key_uses.replace(callback_keys(bindings))
        self.callback_server.limits = connection_limits(bindings, settings.callbacks)
        self.rpc_server.set_limits(rpc_limits(settings.grpc))
        self.rpc_server.set_callers(callers)
        self._redeliveries.replace(routes)
        self._replace_providers(providers, bindings)
        self._expect_series()
        for client in clients - self._clients():
            client.retire()
        self.housekeeping.keep_bodies = _body_retention(settings.journal)
        self._configured, self._settings, self._bindings, self._callers = configured, settings, bindings, callers
        return found

    def count_reload(self, *, succeeded: bool) -> None:
        """Record in the metrics what became of a reload, whose settings may not even have been readable."""
        self._metrics.reloaded(succeeded=succeeded)

    def _expect_series(self) -> None:
        for provider in self.providers.values():
            self._metrics.expect(expected_series(provider.account.provider, provider.adapter.callbacks))

    def _create(self, binding: ProviderBinding) -> Provider:
        return create_provider(binding, self._secrets, self.provider_switches.of(binding.settings.name))

    def _create_or_rebuild(self, binding: ProviderBinding) -> Provider:
        name = binding.settings.name
        if name not in self.providers:
            return self._create(binding)
        return rebuild_provider(self.providers[name], self._bindings[name], binding, self._secrets)

    def _replace_providers(self, providers: Mapping[str, Provider], bindings: Mapping[str, ProviderBinding]) -> None:
        for name, provider in providers.items():
            if provider is not self.providers.get(name):
                settings = bindings[name].settings
                provider.admission.set_limits(settings.limits, settings.retry, settings.breaker)
        self.providers.replace(providers)

    def _clients(self) -> frozenset[ProviderClient]:
        return frozenset(provider.client for provider in self.providers.values())

    def _create_callback_handler(self, routes: Routes) -> CallbackHandler:
        return CallbackHandler(
            routes,
            callback_authenticator(self._bindings, self._settings.callbacks),
            self.callback_processor,
            now,
            body_limit=self._settings.callbacks.max_body_bytes,
            key_uses=self._key_uses,
            metrics=self._metrics,
            traces=self._traces,
        )

    def _create_rpc_server(self) -> rpc.RpcServer:
        settings = self._settings
        return rpc.RpcServer(
            self._servicers(),
            event_streams=self.event_streams,
            providers=self.providers,
            shares_port=self._shares_ports,
            native=settings.grpc.server is GrpcServerKind.NATIVE,
            limits=rpc_limits(settings.grpc),
            traces=self._traces,
            callers=self._callers,
            metrics=self._metrics,
            with_reflection=settings.grpc.reflection,
        )

    def _servicers(self) -> list[rpc.Servicer]:

        def deadline_s() -> float:  # a reload can change it
            return self._settings.grpc.default_deadline_s

        servicers: list[rpc.Servicer] = [
            SessionService(
                self.close_service, self.event_streams, self.providers, deadline_s, self._key_uses.last_uses
            ),
            ReconciliationService(self.store, self._redeliveries, now, deadline_s),
            TransactionService(self.store, deadline_s),
            ProviderService(self.provider_switches, self.store, self.providers, deadline_s),
        ]
        if isinstance(self.wallet, BuiltinWallet):
            servicers.append(WalletService(self.wallet, deadline_s, self._comes_by_callback))
        return servicers

    def _comes_by_callback(self, provider: str) -> bool:
        binding = self._bindings.get(provider)
        return binding is not None and receives_results(binding)

    async def _check_store(self) -> None:
        """Raises ConfigInvalid where the settings contradict what the store holds."""
        if problems := (
            *missing_providers(await self.store.money_providers(), self._settings),
            *changed_wallet(await self.store.wallet_kinds(), self._settings),
        ):
            raise ConfigInvalid(problems)

    async def _listen(self) -> Listening:
        settings = self._settings
        admin = await listening_sockets(settings.admin.listen, "admin")
        await self._admin.start(admin)
        callbacks = await listening_sockets(settings.callbacks.listen, "callbacks", shares_port=self._shares_ports)
        self.callback_server.start(callbacks, self._certificates.for_callbacks(settings.callbacks.tls))
        grpc = await listen_grpc(self.rpc_server, settings.grpc, self._certificates)
        return Listening(
            grpc=str(grpc),
            callbacks=str(Listen(settings.callbacks.listen.host, callbacks[0].getsockname()[1])),
            admin=str(Listen(settings.admin.listen.host, admin[0].getsockname()[1])),
        )

    def _provider_statuses(self) -> list[ProviderStatus]:
        """The providers' part of a metrics scrape."""
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
        """Why the gateway is not ready; never because a provider fails."""
        if self._not_ready_because:
            return (self._not_ready_because,)
        if not self.callback_server.accepting:
            return ("callbacks are not accepted",)
        try:
            await self.store.ping()
            await self.wallet.ready()
        except (StoreUnavailable, WalletUnavailable) as error:
            return (str(error),)
        return ()


def _body_retention(journal: JournalSettings) -> timedelta | None:
    return timedelta(days=journal.body_retention_days) if journal.body_retention_days else None


def rpc_limits(settings: GrpcSettings) -> RpcLimits:
    """The limits of a gRPC listener, for all its callers together."""
    return RpcLimits(
        calls=settings.max_calls,
        event_streams=settings.max_event_streams,
        calls_per_connection=settings.max_calls_per_connection,
        event_streams_per_connection=settings.max_event_streams_per_connection,
        connections=settings.max_connections,
        message_bytes=settings.max_message_bytes,
        connection_age_s=settings.max_connection_age_s,
    )
