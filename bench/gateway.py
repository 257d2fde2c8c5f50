"""The gateway under test, as operations run it, on a database of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from bench.processes import Server, serving
from gateway.v1.wallet_service_pb2 import OpenAccountRequest
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub

KEY = "bench-" + "k" * 37
PROVIDERS = tuple(f"monaco-{number}" for number in range(3))
"""Accounts at one vendor, as an operator with several sub-brands has them. Callbacks come from the first."""
USERS = 1000

LISTENERS = """
[grpc]
listen = "127.0.0.1:0"
[callbacks]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
url = "{url}"
"""

PROVIDER = """
[providers.{name}]
adapter = "luckymonaco"
base_url = "{base_url}"
allow_plain_http = true
allow_private_addresses = true
secure_login = "partner-1"
token = "bench-token-0123456789-0123456789-0123456789"
"""


def configuration(url: str, base_url: str, names: tuple[str, ...] = PROVIDERS) -> str:
    """The file of a gateway on this database, with all its providers at one address."""
    providers = "".join(PROVIDER.format(name=name, base_url=base_url) for name in names)
    # A key serves one provider, and the first provider's section is not the last one of the file.
    return LISTENERS.format(url=url) + providers.replace("token =", f'callback_keys = ["{KEY}"]\ntoken =', 1)


@asynccontextmanager
async def gateway(
    name: str,
    folder: Path,
    url: str,
    *,
    base_url: str = "https://provider.invalid",
    module: str = "gateway",
    workers: int = 1,
) -> AsyncIterator[Server]:
    """A gateway that serves, with the accounts of all users open."""
    config = folder / f"{name.replace(' ', '-')}.toml"
    config.write_text(configuration(url, base_url))
    options = ("--workers", str(workers)) if workers > 1 else ()
    async with serving(name, folder, module, "serve", "--config", str(config), *options) as server:
        async with grpc.aio.insecure_channel(server.said["grpc"]) as channel:
            wallet = WalletServiceStub(channel)
            for number in range(USERS):
                await wallet.OpenAccount(OpenAccountRequest(user_id=f"player-{number}", currency="USD"))
        yield server
