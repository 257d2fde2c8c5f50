"""The built-in ledger as a separate server, for another gateway's `wallet.target`.

It is for tests of a gateway with an operator's wallet, and an example of what a WalletService must do.
"""

from dataclasses import dataclass

from gateway.config import ConfigInvalid, GrpcServerKind, Problem, Settings
from gateway.rpc import server as rpc
from gateway.rpc.wallet_service import WalletService
from gateway.server.callers import create_callers
from gateway.server.file_limits import fit_limits
from gateway.server.gateway import STOP_GRACE_S, now, rpc_limits, stopped_on_failure
from gateway.server.listening import listen_grpc
from gateway.server.tls import Certificates
from gateway.server.validation import changed_wallet, unreadable_files
from gateway.store.factory import open_store
from gateway.wallet.builtin import BuiltinWallet


@dataclass(frozen=True, slots=True)
class WalletListening:
    """The address of a started wallet, with the port that the system chose, or its Unix socket."""

    grpc: str


class WalletServer:
    """A WalletService on a store: built from the settings' [grpc] and [store], started once, stopped once.

    Configured providers are ignored: it receives no callbacks, and the gateways that do send it the Results of all
    providers. Raises ConfigInvalid.
    """

    def __init__(self, settings: Settings) -> None:
        if problems := (*_other_target(settings), *unreadable_files(settings)):
            raise ConfigInvalid(problems)
        settings = fit_limits(settings)
        callers = create_callers(settings)
        self._settings = settings
        self._certificates = Certificates(settings)
        self._store = open_store(settings.store.url.reveal(), settings.store.pool_size, tls=settings.store.tls)
        wallet = BuiltinWallet(self._store, now)
        services = [WalletService(wallet, lambda: settings.grpc.default_deadline_s, _no_callbacks)]
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
            await self._store.open()
            if problems := changed_wallet(await self._store.wallet_kinds(), self._settings):
                raise ConfigInvalid(problems)
            return WalletListening(grpc=str(await listen_grpc(self._rpc, self._settings.grpc, self._certificates)))

    async def stop(self) -> None:
        """Accept no more calls, finish those in flight, and close."""
        await self._rpc.stop(STOP_GRACE_S)
        await self._store.close()


def _no_callbacks(_provider: str) -> bool:
    return False


def _other_target(settings: Settings) -> tuple[Problem, ...]:
    if settings.wallet.is_builtin:
        return ()
    return (Problem("wallet.target", "is another wallet, and this command serves the built-in ledger: remove the key"),)
