"""From the file to Settings, section by section; everything that is wrong is found in one go."""

import itertools
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from adapters.contract import Secret
from gateway.config import limiting, values
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

_CALLBACK_KEYS_AT_ONCE = 2
"""The key in use and the one that replaces it: more would only be forgotten ones."""

_MOST_AT_ONCE = 100_000
"""Of calls, streams or connections: a limit above it would be none."""


def load(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read the configuration. `environ` is where `{ env = … }` looks.

    What the adapters define is not judged here: see `adapter_settings`. Raises ConfigInvalid with all problems.
    """
    problems: list[Problem] = []
    root = Table("", _parse(path), problems)
    around = ReferenceResolver(path.absolute().parent, environ)
    settings = Settings(
        grpc=_grpc(root.table("grpc"), around),
        callbacks=_callbacks(root.table("callbacks"), around),
        admin=_admin(root.table("admin")),
        store=_store(root.table("store"), around),
        wallet=_wallet(root.table("wallet"), around),
        journal=_journal(root.table("journal")),
        log=_log(root.table("log")),
        traces=_traces(root),
        providers=_providers(root.table("providers"), around),
    )
    root.reject_unknown_keys()
    problems.extend(_shared_addresses(settings))
    # A key that is wrong is left out, and the index of those after it would be wrong too.
    if not any(".callback_keys[" in problem.path for problem in problems):
        problems.extend(_shared_keys(settings.providers.values()))
    if problems:
        raise ConfigInvalid(tuple(problems))
    return settings


def _parse(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        message = f"the configuration {str(path)!a} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        message = f"the configuration {str(path)!a} is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        message = f"the configuration {str(path)!a} is not TOML: {error}"
    except RecursionError:
        message = f"the configuration {str(path)!a} is not TOML that can be read: it is nested too deep"
    raise ConfigInvalid((Problem("", message),))


def _grpc(table: Table, around: ReferenceResolver) -> GrpcSettings:
    usual = GrpcSettings()
    settings = GrpcSettings(
        listen=table.optional("listen", values.listen, usual.listen),
        tls=_tls(table, around),
        # The gateway answers 50 ms before a deadline, so that less than 0.1 s leaves it no time to do anything.
        default_deadline_s=table.optional("default_deadline_s", values.seconds(0.1, 3600), usual.default_deadline_s),
        server=table.optional("server", values.grpc_server, usual.server),
        allow_anyone=table.optional("allow_anyone", values.boolean, usual.allow_anyone),
        max_calls=table.optional("max_calls", values.whole_number(1, _MOST_AT_ONCE), usual.max_calls),
        max_event_streams=table.optional(
            "max_event_streams", values.whole_number(1, _MOST_AT_ONCE), usual.max_event_streams
        ),
        max_message_bytes=table.optional(
            "max_message_bytes", values.whole_number(16 * 1024, 64 * 1024 * 1024), usual.max_message_bytes
        ),
        # Less than a few seconds and callers would do nothing but connect.
        max_connection_age_s=table.optional(
            "max_connection_age_s", values.seconds(5, 604_800), usual.max_connection_age_s
        ),
    )
    if settings.server is GrpcServerKind.NATIVE:
        _refuse_for_native(table, settings)
    table.reject_unknown_keys()
    return settings


def _refuse_for_native(table: Table, settings: GrpcSettings) -> None:
    """Note the keys of [grpc] that the native server cannot honour."""
    if settings.tls is not None:
        table.note(
            "tls",
            'needs server = "grpcio": the native server has no TLS; write that, or leave tls out and end TLS in a '
            "sidecar or proxy on this host",
        )
    if settings.max_connection_age_s is not None:
        table.note(
            "max_connection_age_s",
            'needs server = "grpcio": the native server does not end connections by age; write that, or leave the '
            "key out",
        )
    if not settings.listen.is_loopback and not settings.allow_anyone:
        table.note(
            "listen",
            'can be reached from other machines, and server = "native" has no TLS and no limit on connections; listen '
            'on 127.0.0.1, write server = "grpcio", or, where a sidecar or firewall admits only your services, write '
            "allow_anyone = true",
        )


def _callbacks(table: Table, around: ReferenceResolver) -> CallbackSettings:
    usual = CallbackSettings()
    settings = CallbackSettings(
        listen=table.optional("listen", values.listen, usual.listen),
        tls=_tls(table, around),
        trusted_proxies=table.each("trusted_proxies", values.network, '["10.0.0.0/8"]'),
        max_body_bytes=table.optional(
            "max_body_bytes", values.whole_number(1024, 64 * 1024 * 1024), usual.max_body_bytes
        ),
        max_connections=table.optional("max_connections", values.whole_number(1, _MOST_AT_ONCE), usual.max_connections),
        # A provider that has not said what it wants in ten seconds has long given up.
        receive_timeout_s=table.optional("receive_timeout_s", values.seconds(0.1, 10), usual.receive_timeout_s),
    )
    table.reject_unknown_keys()
    return settings


def _admin(table: Table) -> AdminSettings:
    settings = AdminSettings(listen=table.optional("listen", values.listen, AdminSettings().listen))
    table.reject_unknown_keys()
    return settings


def _store(table: Table, around: ReferenceResolver) -> StoreSettings:
    usual = StoreSettings()
    settings = StoreSettings(
        url=table.optional("url", around.store_url, usual.url),
        pool_size=table.optional("pool_size", values.whole_number(3, 100), usual.pool_size),
    )
    table.reject_unknown_keys()
    return settings


def _wallet(table: Table, around: ReferenceResolver) -> WalletSettings:
    usual = WalletSettings()
    settings = WalletSettings(
        target=table.optional("target", values.wallet_target, usual.target),
        tls=_client_tls(table, around),
        # A provider waits four seconds at the most: a longer attempt leaves no time for a second one.
        attempt_timeout_s=table.optional("attempt_timeout_s", values.seconds(0.05, 3), usual.attempt_timeout_s),
        references_migrated=table.optional("references_migrated", values.boolean, usual.references_migrated),
    )
    if settings.is_builtin and settings.tls is not None:
        table.note("tls", "belongs to a target elsewhere; the built-in ledger is not called over a network")
    table.reject_unknown_keys()
    return settings


def _client_tls(client: Table, around: ReferenceResolver) -> ClientTls | None:
    table = client.table("tls")
    if "tls" not in client.names():
        return None
    files = ClientTls(
        ca=table.optional("ca", around.file, None),
        cert=table.optional("cert", around.file, None),
        key=table.optional("key", around.file, None),
    )
    if (files.cert is None) != (files.key is None):
        table.note("key" if files.key is None else "cert", "is missing: a certificate and its key go together")
    table.reject_unknown_keys()
    return files


def _journal(table: Table) -> JournalSettings:
    days = table.optional("body_retention_days", values.whole_number(1, 36_500), None)
    table.reject_unknown_keys()
    return JournalSettings(days)


def _log(table: Table) -> LogSettings:
    settings = LogSettings(level=table.optional("level", values.log_level, LogSettings().level))
    table.reject_unknown_keys()
    return settings


def _traces(root: Table) -> TracesSettings:
    table = root.table("traces")
    if "traces" not in root.names():
        return TracesSettings()
    settings = TracesSettings(
        endpoint=table.required("endpoint", values.base_url, "", '"http://127.0.0.1:4318"'),
        sample_ratio=table.optional("sample_ratio", values.number(0, 1), TracesSettings().sample_ratio),
    )
    table.reject_unknown_keys()
    return settings


def _tls(listener: Table, around: ReferenceResolver) -> TlsFiles | None:
    table = listener.table("tls")
    if "tls" not in listener.names():
        return None
    files = TlsFiles(
        cert=table.required("cert", around.file, Path(), '"cert.pem"'),
        key=table.required("key", around.file, Path(), '"key.pem"'),
        client_ca=table.optional("client_ca", around.file, None),
    )
    table.reject_unknown_keys()
    return files


def _providers(table: Table, around: ReferenceResolver) -> Mapping[str, ProviderSettings]:
    providers = {}
    for name in table.names():
        if not values.is_provider_name(name):
            table.note(
                name, "a provider's name has at most 63 of a-z, 0-9, _ and -, and begins with a letter or a digit"
            )
        providers[name] = _provider(name, table.table(name), around)
    return MappingProxyType(providers)


def _provider(name: str, table: Table, around: ReferenceResolver) -> ProviderSettings:
    if table.optional("retired", values.boolean, default=False):
        # What it was served with may stay in the file, but its secrets and files need not exist any more.
        return ProviderSettings(name=name, retired=True)
    allow_plain_http = table.optional("allow_plain_http", values.boolean, default=False)
    settings = ProviderSettings(
        name=name,
        adapter=table.required("adapter", values.text, "", "the name of an adapter, in quotes"),
        base_url=table.required("base_url", values.base_url, "", '"https://…", as the vendor gave it'),
        allow_plain_http=allow_plain_http,
        allow_private_addresses=table.optional("allow_private_addresses", values.boolean, default=False),
        token=table.optional("token", around.secret, None),
        callback_keys=_callback_keys(table, around),
        callback_sources=table.each("callback_sources", values.network, '["203.0.113.0/24"]'),
        limits=limiting.limits(table.table("limits")),
        retry=limiting.retry(table.table("retry")),
        breaker=limiting.breaker(table.table("breaker")),
        extras=_extras(table, around),
    )
    if settings.base_url.startswith("http:") and not allow_plain_http:
        table.note(
            "base_url",
            "is plain http, over which credentials can be read on the way; write https://, or, where the vendor "
            "has nothing else, allow_plain_http = true beside it",
        )
    return settings


def _callback_keys(table: Table, around: ReferenceResolver) -> tuple[Secret, ...]:
    keys = table.each("callback_keys", around.callback_key, '[{ file = "callback.key" }]')
    if len(keys) > _CALLBACK_KEYS_AT_ONCE:
        table.note("callback_keys", "holds more than two keys; keep the one in use and the one that replaces it")
    return keys


def _extras(table: Table, around: ReferenceResolver) -> Mapping[str, object]:
    extras = table.rest()
    for key, value in extras.items():
        # An adapter cannot read files or the environment: what it would need of them is read for it here.
        if isinstance(value, dict) and value.keys() in ({"env"}, {"file"}):
            extras[key] = table.optional(key, around.secret, Secret(""))
    return MappingProxyType(extras)


def _shared_addresses(settings: Settings) -> Iterable[Problem]:
    listeners = {
        "grpc.listen": settings.grpc.listen,
        "callbacks.listen": settings.callbacks.listen,
        "admin.listen": settings.admin.listen,
    }
    for (first, one), (second, other) in itertools.combinations(listeners.items(), 2):
        if one.port != 0 and one.port == other.port and _overlap(one, other):
            yield Problem(second, f"is the same address as {first}; give each listener a port of its own")


def _overlap(one: Listen, other: Listen) -> bool:
    everywhere = {"0.0.0.0", "::"}  # noqa: S104 - recognised here, not listened on
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
