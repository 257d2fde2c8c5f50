"""The wallet that the configuration names, which cannot be the gateway itself."""

import re
from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING

from gateway.config import ClientTls, Listen, Problem, Settings, UnixSocket, WalletSettings
from gateway.store.base import Store
from gateway.wallet.builtin import BuiltinWallet

if TYPE_CHECKING:
    from gateway.wallet.channel import ClientPem
    from gateway.wallet.remote import RemoteWallet

_HOST_AND_PORT = re.compile(r"(?:dns:(?://[^/]*/)?|ipv4:|ipv6:)?/*(?P<host>\[[^\]]*\]|[^:/]*):(?P<port>[0-9]{1,5})")


def create_wallet(
    settings: WalletSettings, store: Store, clock: Callable[[], datetime]
) -> "BuiltinWallet | RemoteWallet":
    """The configured wallet. Raises OSError where a file of `wallet.tls` cannot be read."""
    if settings.is_builtin:
        return BuiltinWallet(store, clock)
    from gateway.wallet.channel import WalletAddress  # noqa: PLC0415 - not loaded for the built-in ledger
    from gateway.wallet.remote import RemoteWallet  # noqa: PLC0415

    address = WalletAddress(settings.target, _read_pem(settings.tls) if settings.tls else None)
    return RemoteWallet(address, store, clock, attempt_timeout_s=settings.attempt_timeout_s)


def calls_itself(settings: Settings) -> tuple[Problem, ...]:
    """The problem of a gateway that names itself as the operator's wallet: it serves none, so nothing is credited."""
    target, listen = settings.wallet.target, settings.grpc.listen
    if isinstance(listen, UnixSocket):
        own = re.sub(r"^unix:///", "unix:/", target) == str(listen)
    else:
        own = _is_own(target, listen)
    if settings.wallet.is_builtin or not own:
        return ()
    advice = "name the operator's wallet, or write builtin for the ledger in the gateway's store"
    return (Problem("wallet.target", f"is this gateway's own grpc.listen: {advice}"),)


def _is_own(target: str, listen: Listen) -> bool:
    """Whether a call to the target would arrive at this listener, as far as names and addresses show."""
    found = _HOST_AND_PORT.fullmatch(target)
    if found is None or not listen.port or int(found["port"]) != listen.port:
        return False
    host = found["host"].strip("[]")
    here = Listen(host, listen.port).is_loopback and (listen.is_loopback or _is_any(listen.host))
    return here or host.lower() == listen.host.lower()


def _read_pem(files: ClientTls) -> "ClientPem":
    from gateway.wallet.channel import ClientPem  # noqa: PLC0415

    return ClientPem(*(file.read_bytes() if file else None for file in (files.ca, files.cert, files.key)))


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
