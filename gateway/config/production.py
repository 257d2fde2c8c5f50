"""What is valid and yet unsafe, as lists of rules. `check` prints ADVICE; with `--production` it refuses that too."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType
from urllib.parse import urlsplit

from adapters.contract import AdapterSettings
from gateway.config.problems import Problem
from gateway.config.references import ReferencedSecret
from gateway.config.secret_paths import secrets_by_path
from gateway.config.settings import GrpcServerKind, Listen, ProviderSettings, Settings
from gateway.store.postgres_url import SslMode, parse


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the rules look at: the settings, and what only the adapters know."""

    settings: Settings
    adapter_settings: Mapping[str, AdapterSettings] = field(default_factory=lambda: MappingProxyType({}))
    """By provider."""
    with_callbacks: frozenset[str] = frozenset()
    """The providers whose adapters have callbacks."""

    def served(self) -> Iterator[tuple[str, ProviderSettings]]:
        """The providers that are not retired, with the paths of their tables."""
        return (
            (f"providers.{name}", provider)
            for name, provider in self.settings.providers.items()
            if not provider.retired
        )


Rule = Callable[[Deployment], Iterable[Problem]]


def warnings(settings: Settings) -> tuple[Problem, ...]:
    """What `check` advises."""
    return _broken(ADVICE, Deployment(settings))


def production_problems(deployment: Deployment) -> tuple[Problem, ...]:
    """What `check --production` refuses."""
    return _broken((*ADVICE, *PRODUCTION), deployment)


def production_warnings(deployment: Deployment) -> tuple[Problem, ...]:
    """What `check --production` advises."""
    return _broken(PRODUCTION_ADVICE, deployment)


def _broken(rules: Sequence[Rule], deployment: Deployment) -> tuple[Problem, ...]:
    return tuple(problem for rule in rules for problem in rule(deployment))


# --- The rules --------------------------------------------------------------------------------------------------------


def _grpc_in_the_clear(deployment: Deployment) -> Iterator[Problem]:
    grpc = deployment.settings.grpc
    if grpc.tls is None and not grpc.listen.is_loopback:
        native = grpc.server is GrpcServerKind.NATIVE
        advice = "let a sidecar or firewall admit only your services" if native else "set grpc.tls"
        tokens = "players' tokens and those of callers" if deployment.settings.callers else "players' tokens"
        yield Problem("grpc.listen", f"others can connect, and {tokens} travel unencrypted; {advice}")


def _tokens_not_read(deployment: Deployment) -> Iterator[Problem]:
    if deployment.settings.jwt is not None and not deployment.settings.callers:
        yield Problem("jwt", "has no effect without [callers]: no token is read; add [callers.NAME] jwt_subject")


def _no_callers(deployment: Deployment) -> Iterator[Problem]:
    if not deployment.settings.callers:
        yield Problem("callers", "is missing: everyone who can connect may call everything; write [callers.NAME]")


def _reflection(deployment: Deployment) -> Iterator[Problem]:
    if deployment.settings.grpc.reflection:
        yield Problem("grpc.reflection", "lists all services to everyone who can connect; write reflection = false")


def _callbacks_in_the_clear(deployment: Deployment) -> Iterator[Problem]:
    callbacks = deployment.settings.callbacks
    # A declared proxy terminates TLS.
    if callbacks.tls is None and not callbacks.trusted_proxies and not callbacks.listen.is_loopback:
        yield Problem(
            "callbacks.listen",
            "others can connect, and callback keys travel unencrypted; set callbacks.tls, or name the proxy that "
            "terminates TLS in callbacks.trusted_proxies",
        )


def _every_proxy_trusted(deployment: Deployment) -> Iterator[Problem]:
    for index, network in enumerate(deployment.settings.callbacks.trusted_proxies):
        if network.prefixlen == 0:
            yield Problem(
                f"callbacks.trusted_proxies[{index}]",
                "trusts every address, so that a caller can choose its own; name the proxies' networks",
            )


def _wallet_in_the_clear(deployment: Deployment) -> Iterator[Problem]:
    wallet = deployment.settings.wallet
    address = wallet.target.rpartition("/")[2]
    host = address.rpartition(":")[0] or address
    local = wallet.is_builtin or wallet.target.startswith("unix:") or Listen(host.strip("[]"), 0).is_loopback
    if wallet.tls is None and not local:
        yield Problem("wallet.target", "is called without TLS: others on the network can pay out money; set wallet.tls")


def _unusual_base_urls(deployment: Deployment) -> Iterator[Problem]:
    for path, provider in deployment.served():
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


def _lenient_providers(deployment: Deployment) -> Iterator[Problem]:
    for path, provider in deployment.served():
        if provider.allow_plain_http:
            yield Problem(f"{path}.allow_plain_http", "lets credentials travel unencrypted; remove it, use https://")
        if provider.allow_private_addresses:
            yield Problem(
                f"{path}.allow_private_addresses",
                "lets a changed name lead calls into your own network; remove it, and name a public address",
            )


def _callbacks_without_keys(deployment: Deployment) -> Iterator[Problem]:
    for path, provider in deployment.served():
        if provider.name in deployment.with_callbacks and not provider.callback_keys:
            yield Problem(
                f"{path}.callback_keys",
                "is missing: its adapter has callbacks, and without a key all are answered 404, wins too; "
                'write callback_keys = [{ file = "callback.key" }]',
            )


def _anyone_allowed(deployment: Deployment) -> Iterator[Problem]:
    if deployment.settings.grpc.allow_anyone:
        yield Problem("grpc.allow_anyone", "lets everybody who can connect call everything; remove it")


def _secrets_in_the_file(deployment: Deployment) -> Iterator[Problem]:
    settings = deployment.settings
    found = dict(secrets_by_path(settings))
    if settings.store.is_sqlite or not parse(settings.store.url.reveal()).password:
        found.pop("store.url")
    for name, of_adapter in deployment.adapter_settings.items():
        found.update(secrets_by_path(of_adapter, f"providers.{name}"))
    for path, secret in found.items():
        if not isinstance(secret, ReferencedSecret):
            yield Problem(path, 'is written in the file; write { file = "path" } or { env = "NAME" } instead')


def _debug_log(deployment: Deployment) -> Iterator[Problem]:
    if deployment.settings.log.level == "debug":
        yield Problem("log.level", "is debug, which logs what libraries write; write info")


_UNSAFE_SSL_MODES = {
    SslMode.DISABLE: "the password and all data travel unencrypted",
    SslMode.REQUIRE: "the server is not verified, so that one in between can read the password and all data",
}


def _database_not_verified(deployment: Deployment) -> Iterator[Problem]:
    store = deployment.settings.store
    if store.is_sqlite:
        return
    address = parse(store.url.reveal())
    hosts = [str(host) for host in address.hosts if not host.is_local]
    if hosts and address.sslmode in _UNSAFE_SSL_MODES:
        yield Problem(
            "store.url",
            f"has sslmode={address.sslmode} for {', '.join(hosts)}: {_UNSAFE_SSL_MODES[address.sslmode]}; write "
            "sslmode=verify-full",
        )


def _no_ceilings(deployment: Deployment) -> Iterator[Problem]:
    for path, provider in deployment.served():
        if provider.callback_keys and not (provider.max_amount or provider.max_amount_per_h):
            yield Problem(
                f"{path}.max_amount",
                "is not set: a callback key can credit any amount; write the largest amount of a Result, such as "
                '{ USD = "1000" }',
            )


def _admin_for_others(deployment: Deployment) -> Iterator[Problem]:
    # Not refused: the probes of Kubernetes come from another host, and the listener changes nothing.
    if not deployment.settings.admin.listen.is_loopback:
        yield Problem(
            "admin.listen",
            "others can read health and metrics, without TLS; let a firewall or a network policy admit only probes "
            "and Prometheus",
        )


ADVICE: tuple[Rule, ...] = (
    _grpc_in_the_clear,
    _tokens_not_read,
    _callbacks_in_the_clear,
    _every_proxy_trusted,
    _database_not_verified,
    _wallet_in_the_clear,
    _unusual_base_urls,
)
"""Advised by every `check`, and refused for production."""

PRODUCTION: tuple[Rule, ...] = (
    _no_callers,
    _anyone_allowed,
    _debug_log,
    _lenient_providers,
    _callbacks_without_keys,
    _secrets_in_the_file,
)
"""Refused for production only."""

PRODUCTION_ADVICE: tuple[Rule, ...] = (_reflection, _no_ceilings, _admin_for_others)
"""Advised for production only."""
