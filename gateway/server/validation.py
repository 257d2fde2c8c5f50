"""Whether a configuration can be served: its adapters, its certificates, and the store that it names."""

import ssl
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from urllib.parse import unquote

from adapters.contract import Secret
from adapters.registry import Registry
from gateway.config import (
    ClientTls,
    ConfigInvalid,
    Deployment,
    GrpcServerKind,
    Problem,
    Settings,
    TlsFiles,
    secrets_in,
)
from gateway.outbound.tls import read_tls
from gateway.server.callers import create_callers, unknown_providers
from gateway.server.providers import ProviderBinding, bind_providers, unusable_tls
from gateway.server.wallets import calls_itself
from gateway.store.base import StoreUnavailable
from gateway.store.factory import describe, stored_money_providers, stored_wallet_kinds
from gateway.store.models import WalletKind
from gateway.store.postgres_url import split
from gateway.telemetry import tracer_factory

_PASSWORD_OPTIONS = frozenset({"password", "sslpassword"})
"""Options of a PostgreSQL url whose values are secret."""


def validate(
    settings: Settings, registry: Registry | None = None, conflicts: Iterable[Problem] = ()
) -> Mapping[str, ProviderBinding]:
    """The providers to serve. Does not look at the store; `conflicts` are problems that the caller found there.

    Raises ConfigInvalid with all problems.
    """
    problems = [*conflicts, *unreadable_files(settings), *calls_itself(settings), *unknown_providers(settings)]
    bindings: Mapping[str, ProviderBinding] = {}
    try:
        create_callers(settings)
    except ConfigInvalid as invalid:
        problems.extend(invalid.problems)
    try:
        bindings = bind_providers(settings, registry)
    except ConfigInvalid as invalid:
        problems.extend(invalid.problems)
    if problems:
        raise ConfigInvalid(tuple(problems))
    return bindings


def missing_providers(money_providers: frozenset[str], settings: Settings) -> tuple[Problem, ...]:
    """Providers that the store holds references of and the configuration does not name: a name is permanent."""
    return tuple(
        Problem(
            f"providers.{name}",
            "is missing, but the store holds its references, which could be paid again under another name; "
            f"configure it again, or keep its name with [providers.{name}] retired = true",
        )
        for name in sorted(money_providers - settings.providers.keys())
    )


def changed_wallet(wallet_kinds: frozenset[WalletKind], settings: Settings) -> tuple[Problem, ...]:
    """Another wallet than the store's: a Result that was credited by that one would be credited again by this one."""
    ours, other = WalletKind.BUILTIN, WalletKind.OPERATORS
    if not settings.wallet.is_builtin:
        ours, other = other, ours
    if other not in wallet_kinds or settings.wallet.references_migrated:
        return ()
    before = "the operator's wallet" if ours is WalletKind.BUILTIN else "the built-in ledger"
    return (
        Problem(
            "wallet.target",
            f"is another wallet than before: the store holds what {before} credited, and a Result that is sent again "
            "would be paid twice; name the previous wallet, or another database, or migrate its references and "
            "balances and then write references_migrated = true",
        ),
    )


async def store_conflicts(settings: Settings) -> tuple[Problem, ...]:
    """The `missing_providers` and `changed_wallet` of a store that no gateway has opened yet."""
    url, tls = settings.store.url.reveal(), settings.store.tls
    try:
        return (
            *missing_providers(await stored_money_providers(url, tls), settings),
            *changed_wallet(await stored_wallet_kinds(url, tls), settings),
        )
    except StoreUnavailable as error:
        return (Problem("store.url", str(error)),)


def unreadable_files(settings: Settings) -> tuple[Problem, ...]:
    """Certificates and keys that TLS cannot use, an invalid store url, and extras that are not installed."""
    problems = []
    try:
        describe(settings.store.url.reveal())
    except ValueError as error:  # its message holds no part of the url
        problems.append(Problem("store.url", str(error)))
    if settings.traces.endpoint and not tracer_factory.installed():
        problems.append(
            Problem(
                "traces.endpoint",
                f"needs OpenTelemetry, which is not installed: install {tracer_factory.EXTRA}, or remove [traces]",
            )
        )
    if settings.grpc.server is GrpcServerKind.NATIVE and find_spec("pygrpc_native") is None:
        problems.append(
            Problem(
                "grpc.server",
                "needs pygrpc-native, which is not installed: install session-gateway[native], or write "
                'server = "grpcio"',
            )
        )
    for section, files in (
        ("grpc", settings.grpc.tls),
        ("callbacks", settings.callbacks.tls),
        ("store", settings.store.tls),
        ("wallet", settings.wallet.tls),
    ):
        try:
            match files:
                case TlsFiles():
                    ssl_context(files)
                case ClientTls():
                    read_tls(files.ca, files.cert, files.key)
        except OSError as error:  # ssl.SSLError is one
            problems.append(unusable_tls(f"{section}.tls", error))
    return tuple(problems)


def ssl_context(files: TlsFiles) -> ssl.SSLContext:
    """A listener's TLS, 1.2 or newer. Raises OSError for files that are not PEM, or for another certificate's key."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # some systems build Python with an older one
    context.load_cert_chain(files.cert, files.key, password="")  # nobody is asked for the password of a key
    if files.client_ca:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def deployment(settings: Settings, bindings: Mapping[str, ProviderBinding]) -> Deployment:
    """What the rules for production look at."""
    return Deployment(
        settings,
        {name: binding.account.settings for name, binding in bindings.items()},
        frozenset(name for name, binding in bindings.items() if binding.adapter.callbacks),
    )


def secrets_of(settings: Settings, bindings: Mapping[str, ProviderBinding] | None = None) -> tuple[Secret, ...]:
    """Every secret of the configuration, for masking.

    Which plain strings of a provider's table are secret, its adapter declares: only with `bindings` they are found.
    """
    accounts = [binding.account for binding in (bindings or {}).values()]
    found = (secret for secret in secrets_in([settings, *accounts]) if secret is not settings.store.url)
    return (*found, *_passwords(settings.store.url))


def _passwords(store_url: Secret) -> Iterator[Secret]:
    """The passwords in a store's url, before the host and among its options: decoded, and as they are written."""
    parts = split(store_url.reveal())
    options = [option.partition("=") for option in parts.query.split("&")]
    for written in (parts.password, *(value for name, _, value in options if name in _PASSWORD_OPTIONS)):
        if written:
            yield from (Secret(unquote(written)), Secret(written))
