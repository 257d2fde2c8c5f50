"""The built-in ledger as a wallet of its own: what a gateway elsewhere names as its `wallet.target`.

For tests of a gateway with an operator's wallet, and for teams to copy: it does what a WalletService must do.
"""

from dataclasses import dataclass

from gateway.config import ConfigInvalid, GrpcServerKind, Listen, Problem, Settings
from gateway.rpc import server as rpc
from gateway.rpc.wallet_service import WalletService
from gateway.server.gateway import STOP_GRACE_S, CannotStart, now, rpc_limits
from gateway.server.tls import Certificates
from gateway.server.validation import changed_wallet, unreadable_files
from gateway.store.base import StoreUnavailable
from gateway.store.factory import open_store
from gateway.wallet.builtin import BuiltinWallet


@dataclass(frozen=True, slots=True)
class WalletListening:
    """Where the wallet can be reached, with the port that was really taken."""

    grpc: str


class WalletServer:
    """A WalletService on a store: built from the settings' [grpc] and [store], started once, stopped once.

    Providers are none of its business, and are ignored. Raises ConfigInvalid.
    """

    def __init__(self, settings: Settings) -> None:
        if problems := (*_elsewhere(settings), *unreadable_files(settings)):
            raise ConfigInvalid(problems)
        self._settings = settings
        self._store = open_store(settings.store.url.reveal(), settings.store.pool_size)
        wallet = BuiltinWallet(self._store, now)
        services = [WalletService(wallet, lambda: settings.grpc.default_deadline_s)]
        native = settings.grpc.server is GrpcServerKind.NATIVE
        self._rpc = rpc.RpcServer(services, native=native, limits=rpc_limits(settings.grpc))

    async def start(self) -> WalletListening:
        """Open the store, and serve. Raises CannotStart, and leaves nothing open then."""
        try:
            return await self._start()
        except (StoreUnavailable, OSError, rpc.CannotListen) as error:
            await self.stop()
            raise CannotStart(str(error)) from error
        except BaseException:  # also where it is told to stop meanwhile
            await self.stop()
            raise

    async def _start(self) -> WalletListening:
        listen = self._settings.grpc.listen
        await self._store.open()
        if problems := changed_wallet(await self._store.wallet_kinds(), self._settings):
            raise ConfigInvalid(problems)
        port = await self._rpc.start(listen.host, listen.port, Certificates().of_rpc(self._settings.grpc, self._rpc))
        return WalletListening(grpc=str(Listen(listen.host, port)))

    async def stop(self) -> None:
        """Take no more calls, finish those in flight, and close."""
        await self._rpc.stop(STOP_GRACE_S)
        await self._store.close()


def _elsewhere(settings: Settings) -> tuple[Problem, ...]:
    if settings.wallet.is_builtin:
        return ()
    return (Problem("wallet.target", "is another wallet, and this command serves the built-in ledger: leave it out"),)
