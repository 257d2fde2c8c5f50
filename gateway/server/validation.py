"""Whether a configuration fits what is around it: the store that is there, the certificates that it names."""

import ssl
from collections.abc import Iterator
from importlib.util import find_spec
from urllib.parse import parse_qsl, unquote, urlsplit

from adapters.contract import Secret
from gateway.config import ClientTls, GrpcServerKind, Problem, Settings, TlsFiles
from gateway.store.base import StoreUnavailable
from gateway.store.factory import describe, stored_money_providers, stored_wallet_kinds
from gateway.store.models import WalletKind
from gateway.telemetry import tracing


def missing_providers(money_providers: frozenset[str], settings: Settings) -> tuple[Problem, ...]:
    """Providers whose references the store knows and the configuration does not: a name is for good."""
    return tuple(
        Problem(
            f"providers.{name}",
            "is missing, but the store holds its references, and a forgotten name could be paid twice under another; "
            f"configure it again, or keep its name with [providers.{name}] retired = true",
        )
        for name in sorted(money_providers - settings.providers.keys())
    )


def changed_wallet(creditors: frozenset[WalletKind], settings: Settings) -> tuple[Problem, ...]:
    """Another wallet than the one before: a Result that was credited there would be credited here once more."""
    ours, other = WalletKind.BUILTIN, WalletKind.OPERATORS
    if not settings.wallet.is_builtin:
        ours, other = other, ours
    if other not in creditors or settings.wallet.references_migrated:
        return ()
    before = "the operator's wallet" if ours is WalletKind.BUILTIN else "the built-in ledger"
    return (
        Problem(
            "wallet.target",
            f"is another wallet than before: the store holds what {before} credited, and a Result that is sent again "
            "would be paid twice; name the wallet of before, or another database, or carry its references and balances "
            "over and then write references_migrated = true",
        ),
    )


async def store_conflicts(settings: Settings) -> tuple[Problem, ...]:
    """What `forgotten` and `exchanged` say of the store as it is, before any gateway opens it."""
    url = settings.store.url.reveal()
    try:
        return (
            *missing_providers(await stored_money_providers(url), settings),
            *changed_wallet(await stored_wallet_kinds(url), settings),
        )
    except StoreUnavailable as error:
        return (Problem("store.url", str(error)),)


def unreadable_files(settings: Settings) -> tuple[Problem, ...]:
    """Certificates and keys that TLS cannot use, a store's url that cannot be read, an extra that is not installed."""
    problems = []
    try:
        describe(settings.store.url.reveal())
    except ValueError as error:  # it repeats no part of the url
        problems.append(Problem("store.url", str(error)))
    if settings.traces.endpoint and not tracing.installed():
        problems.append(
            Problem(
                "traces.endpoint",
                f"needs OpenTelemetry, which is not installed: install {tracing.EXTRA}, or leave [traces] out",
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
        ("wallet", settings.wallet.tls),
    ):
        try:
            match files:
                case TlsFiles():
                    ssl_context(files)
                case ClientTls():
                    _load(files)
        except OSError as error:  # ssl.SSLError is one
            problems.append(
                Problem(f"{section}.tls", f"cannot be used ({error}); give PEM files, and the key of that certificate")
            )
    return tuple(problems)


def ssl_context(files: TlsFiles) -> ssl.SSLContext:
    """A listener's TLS. Raises OSError for files that are not PEM, or do not fit one another."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.cert, files.key)
    if files.client_ca:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load(files: ClientTls) -> None:
    context = ssl.create_default_context()
    if files.ca:
        context.load_verify_locations(files.ca)
    if files.cert:
        context.load_cert_chain(files.cert, files.key)


def secrets_of(settings: Settings) -> tuple[Secret, ...]:
    """Every secret of the configuration, for masking."""
    of_providers = tuple(
        secret
        for provider in settings.providers.values()
        for secret in (
            *((provider.token,) if provider.token else ()),
            *provider.callback_keys,
            *(value for value in provider.extras.values() if isinstance(value, Secret)),
        )
    )
    return (*of_providers, *_passwords(settings.store.url))


def _passwords(store_url: Secret) -> Iterator[Secret]:
    """The password in a store's url: before the host, or among its options."""
    parts = urlsplit(store_url.reveal())
    if parts.password:
        yield Secret(unquote(parts.password))
    yield from (Secret(value) for name, value in parse_qsl(parts.query) if name == "password")
