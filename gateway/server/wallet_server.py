"""The built-in ledger as a separate server, for another gateway's `wallet.target`.

It is for tests of a gateway with an operator's wallet, and an example of what a WalletService must do.
"""

from dataclasses import dataclass

from gateway.config import ConfigInvalid, GrpcServerKind, Listen, Problem, Settings
from gateway.rpc import server as rpc
from gateway.rpc.wallet_service import WalletService
from gateway.server.callers import create_callers
from gateway.server.gateway import STOP_GRACE_S, now, rpc_limits, stopped_on_failure
from gateway.server.tls import Certificates
from gateway.server.validation import changed_wallet, unreadable_files
from gateway.store.factory import open_store
from gateway.wallet.builtin import BuiltinWallet


@dataclass(frozen=True, slots=True)
class WalletListening:
    """The address of a started wallet, with the port that the system chose."""

    grpc: str


class WalletServer:
    """A WalletService on a store: built from the settings' [grpc] and [store], started once, stopped once.

    Configured providers are ignored. Raises ConfigInvalid.
    """

    def __init__(self, settings: Settings) -> None:
        if problems := (*_other_target(settings), *unreadable_files(settings)):
            raise ConfigInvalid(problems)
        callers = create_callers(settings)
        self._settings = settings
        self._store = open_store(settings.store.url.reveal(), settings.store.pool_size)
        wallet = BuiltinWallet(self._store, now)
        services = [WalletService(wallet, lambda: settings.grpc.default_deadline_s)]
        native = settings.grpc.server is GrpcServerKind.NATIVE
        self._rpc = rpc.RpcServer(
            services,
            native=native,
            limits=rpc_limits(settings.grpc),
            callers=callers,
            with_reflection=settings.grpc.reflection,
        )

    async def start(self) -> WalletListening:
        """Open the store, and serve. Raises CannotStart and ConfigInvalid, and leaves nothing open then."""
        async with stopped_on_failure(self.stop):
            listen = self._settings.grpc.listen
            await self._store.open()
            if problems := changed_wallet(await self._store.wallet_kinds(), self._settings):
                raise ConfigInvalid(problems)
            tls = Certificates().for_rpc(self._settings.grpc, self._rpc)
            port = await self._rpc.start(listen.host, listen.port, tls)
            return WalletListening(grpc=str(Listen(listen.host, port)))

    async def stop(self) -> None:
        """Accept no more calls, finish those in flight, and close."""
        await self._rpc.stop(STOP_GRACE_S)
        await self._store.close()


def _other_target(settings: Settings) -> tuple[Problem, ...]:
    if settings.wallet.is_builtin:
        return ()
    return (Problem("wallet.target", "is another wallet, and this command serves the built-in ledger: remove the key"),)
