"""The built-in ledger as a wallet of its own: what a gateway elsewhere names as its `wallet.target`.

For tests of a gateway with an operator's wallet, and for teams to copy: it does what a WalletService must do.
"""

import asyncio
import signal
from typing import TextIO

import msgspec

from gateway.app.gateway import STOP_GRACE_S, CannotStart, now, pem
from gateway.app.surroundings import exchanged, unloadable
from gateway.config import ConfigInvalid, Listen, Problem, Settings
from gateway.rpc import server as rpc
from gateway.rpc.wallet_service import WalletService
from gateway.store.interface import StoreUnavailable
from gateway.store.open import open_store
from gateway.wallet.builtin import BuiltinWallet


class WalletServer:
    """A WalletService on a store: built from the settings' [grpc] and [store], started once, stopped once.

    Providers are none of its business, and are ignored. Raises ConfigInvalid.
    """

    def __init__(self, settings: Settings) -> None:
        if problems := (*_elsewhere(settings), *unloadable(settings)):
            raise ConfigInvalid(problems)
        self._settings = settings
        self._store = open_store(settings.store.url.reveal(), settings.store.pool_size)
        wallet = BuiltinWallet(self._store, now)
        self._rpc = rpc.RpcServer([WalletService(wallet, settings.grpc.default_deadline_s)])

    async def start(self) -> str:
        """Open the store, and serve. Answers the address. Raises CannotStart, and leaves nothing open then."""
        try:
            return await self._start()
        except (StoreUnavailable, OSError, rpc.CannotListen) as error:
            await self.stop()
            raise CannotStart(str(error)) from error
        except ConfigInvalid:
            await self.stop()
            raise

    async def _start(self) -> str:
        listen, tls = self._settings.grpc.listen, self._settings.grpc.tls
        await self._store.open()
        if problems := exchanged(await self._store.creditors(), self._settings):
            raise ConfigInvalid(problems)
        port = await self._rpc.start(listen.host, listen.port, pem(tls) if tls else None)
        return str(Listen(listen.host, port))

    async def stop(self) -> None:
        """Take no more calls, finish those in flight, and close."""
        await self._rpc.stop(STOP_GRACE_S)
        await self._store.close()


async def run_wallet(settings: Settings, out: TextIO | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigInvalid and CannotStart.

    Once it takes calls it writes one line, `{"event":"serving","grpc":"127.0.0.1:40001"}`, to `out` (None: stdout).
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signalled in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signalled, stop.set)
    server = WalletServer(settings)
    address = await server.start()
    print(msgspec.json.encode({"event": "serving", "grpc": address}).decode(), file=out, flush=True)
    try:
        await stop.wait()
    finally:
        await server.stop()


def _elsewhere(settings: Settings) -> tuple[Problem, ...]:
    if settings.wallet.is_builtin:
        return ()
    return (Problem("wallet.target", "is another wallet, and this command serves the built-in ledger: leave it out"),)
