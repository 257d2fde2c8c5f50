"""From the file to Settings, section by section, with all problems at once."""

import itertools
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

from adapters.contract import Secret
from gateway.config import callers, values
from gateway.config.problems import ConfigInvalid, Problem
from gateway.config.references import ReferenceResolver
from gateway.config.settings import (
    AdminSettings,
    CallbackSettings,
    ClientTls,
    GrpcServerKind,
    GrpcSettings,
    JournalSettings,
    Listen,
    LogSettings,
    ProviderSettings,
    Settings,
    StoreSettings,
    TlsFiles,
    TracesSettings,
    WalletSettings,
)
from gateway.config.table import Table
from gateway.config.values import number, seconds, whole_number
from gateway.outbound.limits import BreakerLimits, Limits, RetryLimits
from gateway.store import postgres_url

_MAX_CALLBACK_KEYS = 2
"""The key in use and the one that replaces it."""

_MAX_CONCURRENT = 100_000
"""Calls, streams or connections: a higher limit would not be one."""

_MAX_PROVIDER_CALLS = 10_000

_WAIT_S = (0.01, 3600)
"""Bounds of a wait, in seconds: a shorter one is none, and no caller waits longer."""


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read the configuration; `environ` holds the variables of `{ env = … }`.

    Keys that adapters define are validated later, by `adapter_settings`. Raises ConfigInvalid with all problems.
    """
    problems: list[Problem] = []
    root = Table("", _parse(path), problems)
    references = ReferenceResolver(path.absolute().parent, environ)
    settings = Settings(
        grpc=_grpc(root.table("grpc"), references),
        callbacks=_callbacks(root.table("callbacks"), references),
        admin=root.table("admin").read(AdminSettings, listen=values.listen),
        store=_store(root.table("store"), references),
        wallet=_wallet(root.table("wallet"), references),
        journal=root.table("journal").read(JournalSettings, body_retention_days=whole_number(1, 36_500)),
        log=root.table("log").read(LogSettings, level=values.log_level),
        traces=_traces(root),
        callers=callers.read_callers(root),
        jwt=callers.read_jwt(root, references),
        providers=_providers(root.table("providers"), references),
    )
    root.reject_unknown_keys()
    problems.extend(_shared_addresses(settings))
    problems.extend(callers.conflicts(settings))
    # An invalid key is left out, so that the indexes of those after it would be wrong.
    if not any(".callback_keys[" in problem.path for problem in problems):
        problems.extend(_shared_keys(settings.providers.values()))
    if problems:
        raise ConfigInvalid(tuple(problems))
    return settings


def _parse(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        message = f"the configuration {str(path)!a} cannot be read: {error.strerror}; name the file with --config"
    except UnicodeDecodeError:
        message = f"the configuration {str(path)!a} is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        message = f"the configuration {str(path)!a} is not TOML: {error}"
        if "overwrite" in str(error):
            message += ". A key or a table is written twice: remove one"
    except RecursionError:
        message = f"the configuration {str(path)!a} is not TOML that can be read: it is nested too deep"
    raise ConfigInvalid((Problem("", message),))


def _grpc(table: Table, references: ReferenceResolver) -> GrpcSettings:
    settings = table.read(
        GrpcSettings,
        {"tls": _tls(table, references)},
        listen=references.listen,
        # The gateway answers 50 ms before a deadline: less than 0.1 s leaves no time for the call.
        default_deadline_s=seconds(0.1, 3600),
        server=values.grpc_server,
        allow_anyone=values.boolean,
        reflection=values.boolean,
        max_calls=whole_number(1, _MAX_CONCURRENT),
        max_event_streams=whole_number(1, _MAX_CONCURRENT),
        max_calls_per_connection=whole_number(1, _MAX_CONCURRENT),
        max_event_streams_per_connection=whole_number(1, _MAX_CONCURRENT),
        max_connections=whole_number(1, _MAX_CONCURRENT),
        max_message_bytes=whole_number(16 * 1024, 64 * 1024 * 1024),
        # With less than a few seconds callers would mostly connect.
        max_connection_age_s=seconds(5, 604_800),
    )
    if settings.server is GrpcServerKind.NATIVE:
        _reject_unsupported_by_native(table, settings)
    return settings


def _reject_unsupported_by_native(table: Table, settings: GrpcSettings) -> None:
    if settings.tls is not None:
        table.add_problem(
            "tls",
            'needs server = "grpcio": the native server has no TLS; write that, or remove tls and terminate TLS in a '
            "sidecar or proxy on this host",
        )
    if settings.max_connection_age_s is not None:
        table.add_problem(
            "max_connection_age_s",
            'needs server = "grpcio": the native server does not end connections by age; write that, or remove the key',
        )
    if "max_connections" in table:
        table.add_problem(
            "max_connections",
            'needs server = "grpcio": the native server does not limit connections; write that, or remove the key',
        )
    if isinstance(settings.listen, Listen) and settings.listen.host.lower() == "localhost":
        table.add_problem(
            "listen",
            'is localhost, which has two addresses, and server = "native" serves one: write 127.0.0.1 or [::1]',
        )
    if not settings.listen.is_loopback and not settings.allow_anyone:
        table.add_problem(
            "listen",
            'can be reached from other machines, and server = "native" has no TLS and no limit on connections and '
            'unfinished requests; listen on 127.0.0.1 or a Unix socket, write server = "grpcio", or, where a sidecar '
            "or firewall admits only your services, write allow_anyone = true",
        )


def _callbacks(table: Table, references: ReferenceResolver) -> CallbackSettings:
    return table.read(
        CallbackSettings,
        {
            "tls": _tls(table, references),
            "trusted_proxies": table.list_of("trusted_proxies", values.network, '["10.0.0.0/8"]'),
        },
        listen=values.listen,
        max_body_bytes=whole_number(1024, 64 * 1024 * 1024),
        max_connections=whole_number(1, _MAX_CONCURRENT),
        max_connections_per_source=whole_number(1, _MAX_CONCURRENT),
        # Providers wait a few seconds for an answer: after ten none is still sending.
        receive_timeout_s=seconds(0.1, 10),
    )


def _store(table: Table, references: ReferenceResolver) -> StoreSettings:
    tls = _client_tls(table, references)
    url = table.optional("url", references.store_url, None)
    known = {"tls": tls} if url is None else {"tls": tls, "url": url}
    settings = table.read(StoreSettings, known, pool_size=whole_number(3, 100))
    if not settings.is_sqlite:
        try:
            postgres_url.parse(settings.url.reveal()).with_tls(tls)
        except ValueError as error:  # its message holds no value of the url
            table.add_problem("url" if tls is None else "tls", str(error))
    elif tls is not None and (url is not None or "url" not in table):
        table.add_problem("tls", "is for PostgreSQL, and the store is SQLite: remove it, or name a server in url")
    return settings


def _wallet(table: Table, references: ReferenceResolver) -> WalletSettings:
    settings = table.read(
        WalletSettings,
        {"tls": _client_tls(table, references)},
        target=values.wallet_target,
        # A provider waits four seconds at most: a longer attempt leaves no time for a second one.
        attempt_timeout_s=seconds(0.05, 3),
        references_migrated=values.boolean,
    )
    if settings.is_builtin and settings.tls is not None:
        table.add_problem("tls", "is for a wallet elsewhere; remove it, or name that wallet in target")
    return settings


def _client_tls(client: Table, references: ReferenceResolver) -> ClientTls | None:
    table = client.table("tls")
    if "tls" not in client:
        return None
    files = table.read(ClientTls, ca=references.file, cert=references.file, key=references.file)
    if (files.cert is None) != (files.key is None):
        table.add_problem("key" if files.key is None else "cert", "is missing: a certificate and its key go together")
    return files


def _traces(root: Table) -> TracesSettings:
    table = root.table("traces")
    if "traces" not in root:
        return TracesSettings()
    endpoint = table.required("endpoint", values.base_url, "", '"http://127.0.0.1:4318"')
    return table.read(TracesSettings, {"endpoint": endpoint}, sample_ratio=number(0, 1))


def _tls(listener: Table, references: ReferenceResolver) -> TlsFiles | None:
    table = listener.table("tls")
    if "tls" not in listener:
        return None
    files = {name: table.required(name, references.file, Path(), f'"{name}.pem"') for name in ("cert", "key")}
    return table.read(TlsFiles, files, client_ca=references.file)


def _providers(table: Table, references: ReferenceResolver) -> Mapping[str, ProviderSettings]:
    providers = {}
    for name in table:
        if not values.is_name(name):
            table.add_problem(
                name, "a provider's name has at most 63 of a-z, 0-9, _ and -, and begins with a letter or a digit"
            )
        providers[name] = _provider(name, table.table(name), references)
    return MappingProxyType(providers)


def _provider(name: str, table: Table, references: ReferenceResolver) -> ProviderSettings:
    if table.optional("retired", values.boolean, default=False):
        # The other keys may stay in the file, and the secrets and files that they name may be gone.
        return ProviderSettings(name=name, retired=True)
    allow_plain_http = table.optional("allow_plain_http", values.boolean, default=False)
    settings = ProviderSettings(
        name=name,
        adapter=table.required("adapter", values.text, "", "the name of an adapter, in quotes"),
        base_url=table.required("base_url", values.base_url, "", '"https://…", as the vendor gave it'),
        allow_plain_http=allow_plain_http,
        allow_private_addresses=table.optional("allow_private_addresses", values.boolean, default=False),
        tls=_client_tls(table, references),
        token=table.optional("token", references.secret, None),
        callback_keys=_callback_keys(table, references),
        callback_sources=table.list_of("callback_sources", values.network, '["203.0.113.0/24"]'),
        max_amount=_amounts(table.table("max_amount")),
        max_amount_per_h=_amounts(table.table("max_amount_per_h")),
        limits=_limits(table.table("limits")),
        retry=_retry(table.table("retry")),
        breaker=_breaker(table.table("breaker")),
        extras=_extras(table, references),
    )
    if settings.base_url.startswith("http:") and not allow_plain_http:
        table.add_problem(
            "base_url",
            "is plain http, which does not encrypt credentials; write https://, or, where the vendor offers nothing "
            "else, add allow_plain_http = true",
        )
    if settings.base_url.startswith("http:") and settings.tls is not None:
        table.add_problem("tls", "needs a base_url that begins with https://; write that, or remove tls")
    return settings


def _amounts(table: Table) -> Mapping[str, Decimal]:
    """Amounts by currency."""
    for currency in table:
        if not values.is_currency(currency):
            table.add_problem(currency, "is not a currency code: write 3 to 10 of A-Z and 0-9, such as USD")
    amounts = {currency: table.optional(currency, values.money, Decimal(0)) for currency in table}
    return MappingProxyType(amounts)


def _limits(table: Table) -> Limits:
    return table.read(
        Limits,
        max_concurrent_calls=whole_number(1, _MAX_PROVIDER_CALLS),
        max_queued_calls=whole_number(0, _MAX_PROVIDER_CALLS),
        max_concurrent_callbacks=whole_number(1, _MAX_PROVIDER_CALLS),
        calls_per_s=number(0.01, 100_000),
        connect_timeout_s=seconds(*_WAIT_S),
        attempt_timeout_s=seconds(*_WAIT_S),
    )


def _retry(table: Table) -> RetryLimits:
    settings = table.read(
        RetryLimits,
        attempts=whole_number(1, 10),
        backoff_s=seconds(0.01, 60),
        max_backoff_s=seconds(0.01, 60),
    )
    if settings.max_backoff_s < settings.backoff_s:
        table.add_problem("max_backoff_s", "is less than backoff_s; write at least that")
    return settings


def _breaker(table: Table) -> BreakerLimits:
    return table.read(
        BreakerLimits,
        window_s=seconds(1, 3600),
        # With fewer requests a few slow ones would open the circuit for all callers.
        min_requests=whole_number(50, 1_000_000_000),
        failure_ratio=number(0.01, 1),
        open_s=seconds(0.1, 3600),
        probe_s=seconds(0.1, 3600),
    )


def _callback_keys(table: Table, references: ReferenceResolver) -> tuple[Secret, ...]:
    keys = table.list_of("callback_keys", references.callback_key, '[{ file = "callback.key" }]')
    if len(keys) > _MAX_CALLBACK_KEYS:
        table.add_problem("callback_keys", "holds more than two keys; keep the one in use and the one that replaces it")
    return keys


def _extras(table: Table, references: ReferenceResolver) -> Mapping[str, object]:
    return MappingProxyType({key: table.optional(key, references.resolved, None) for key in table.unknown()})


def _shared_addresses(settings: Settings) -> Iterable[Problem]:
    listeners = {"callbacks.listen": settings.callbacks.listen, "admin.listen": settings.admin.listen}
    if isinstance(grpc := settings.grpc.listen, Listen):
        listeners = {"grpc.listen": grpc, **listeners}
    for (first, one), (second, other) in itertools.combinations(listeners.items(), 2):
        if one.port != 0 and one.port == other.port and _overlap(one, other):
            yield Problem(second, f"is the same address as {first}; give each listener another port")


def _overlap(one: Listen, other: Listen) -> bool:
    everywhere = {"0.0.0.0", "::"}  # noqa: S104 - compared, not listened on
    hosts = {one.host, other.host}
    return len(hosts) == 1 or hosts == {"127.0.0.1", "localhost"} or not everywhere.isdisjoint(hosts)


def _shared_keys(providers: Iterable[ProviderSettings]) -> Iterable[Problem]:
    seen: dict[Secret, str] = {}
    for provider in providers:
        for index, key in enumerate(provider.callback_keys):
            path = f"providers.{provider.name}.callback_keys[{index}]"
            if key in seen:
                yield Problem(path, f"is the same key as {seen[key]}; each key serves one provider, once")
            else:
                seen[key] = path
