"""Warnings: what is valid and yet unsafe. `check` prints them and succeeds."""

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from gateway.config.problems import Problem
from gateway.config.settings import GrpcServerKind, Listen, ProviderSettings, Settings, WalletSettings

_MIN_KEY_LENGTH = 32


def warnings(settings: Settings) -> tuple[Problem, ...]:
    """All warnings, in the order of sections."""
    found = [*_listeners(settings), *_wallet(settings.wallet)]
    for provider in settings.providers.values():
        found.extend(_provider(provider))
    return tuple(found)


def _listeners(settings: Settings) -> Iterable[Problem]:
    if settings.grpc.tls is None and not settings.grpc.listen.is_loopback:
        native = settings.grpc.server is GrpcServerKind.NATIVE
        advice = "let a sidecar or firewall admit only your services" if native else "set grpc.tls"
        yield Problem("grpc.listen", f"others can connect, and players' tokens travel unencrypted; {advice}")
    callbacks = settings.callbacks
    # A declared proxy terminates TLS.
    if callbacks.tls is None and not callbacks.trusted_proxies and not callbacks.listen.is_loopback:
        yield Problem(
            "callbacks.listen",
            "others can connect, and callback keys travel unencrypted; set callbacks.tls, or name the proxy that "
            "terminates TLS in callbacks.trusted_proxies",
        )
    for index, network in enumerate(callbacks.trusted_proxies):
        if network.prefixlen == 0:
            yield Problem(
                f"callbacks.trusted_proxies[{index}]",
                "trusts every address, so that a caller can choose its own; name the proxies' networks",
            )


def _wallet(wallet: WalletSettings) -> Iterable[Problem]:
    address = wallet.target.rpartition("/")[2]
    host = address.rpartition(":")[0] or address
    local = wallet.is_builtin or wallet.target.startswith("unix:") or Listen(host.strip("[]"), 0).is_loopback
    if wallet.tls is None and not local:
        yield Problem("wallet.target", "is called without TLS: others on the network can pay out money; set wallet.tls")


def _provider(provider: ProviderSettings) -> Iterable[Problem]:
    path = f"providers.{provider.name}"
    for index, key in enumerate(provider.callback_keys):
        if len(key.reveal()) < _MIN_KEY_LENGTH:
            yield Problem(
                f"{path}.callback_keys[{index}]",
                f"is shorter than {_MIN_KEY_LENGTH} characters: write a longer one, since it protects money",
            )
    if provider.callback_keys and not (provider.max_amount or provider.max_amount_per_h):
        yield Problem(
            f"{path}.max_amount",
            "is not set: who has a callback key can credit any amount; write the largest amount of a Result, such as "
            '{ USD = "1000" }',
        )
    private = _is_private(provider.base_url)
    if private and not provider.allow_private_addresses:
        yield Problem(
            f"{path}.base_url",
            "is a private or loopback address, which is not called; to call it, add allow_private_addresses = true",
        )
    if provider.base_url.startswith("http:") and not private:
        yield Problem(
            f"{path}.base_url",
            "is plain http: credentials travel unencrypted; write https:// if you can",
        )


def _is_private(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return Listen(host, 0).is_loopback
