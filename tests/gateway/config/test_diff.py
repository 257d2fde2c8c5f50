"""The differences of two configurations, by key path."""

from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from adapters.contract import Secret
from gateway.config import (
    CallbackSettings,
    ClientTls,
    GrpcServerKind,
    GrpcSettings,
    JournalSettings,
    Listen,
    LogSettings,
    ProviderSettings,
    Settings,
    TlsFiles,
    WalletSettings,
    changes,
    requires_restart,
)
from gateway.outbound.limits import Limits, RetryLimits

SECRETS = st.sampled_from(["secret-one", "secret-two"]).map(Secret)
LISTEN = st.builds(Listen, st.sampled_from(["127.0.0.1", "::1"]), st.integers(1, 2))
FILES = st.sampled_from([Path("one.pem"), Path("two.pem")])
EXTRAS = st.dictionaries(
    st.sampled_from(["secure_login", "verify_token", "odd key"]),
    st.one_of(SECRETS, st.sampled_from(["a value", 7, [17], {"inner": 1}, {"inner": 2, "more": 3}])),
)
PROVIDERS = st.builds(
    ProviderSettings,
    name=st.just("any"),
    adapter=st.sampled_from(["acme", "other"]),
    base_url=st.sampled_from(["https://one.example", "https://two.example"]),
    tls=st.none() | st.builds(ClientTls, ca=FILES),
    token=st.none() | SECRETS,
    callback_keys=st.lists(SECRETS, max_size=2, unique=True).map(tuple),
    callback_sources=st.sampled_from([(), (ip_network("192.0.2.0/24"),)]),
    limits=st.builds(Limits, max_concurrent_calls=st.integers(1, 2), calls_per_s=st.none() | st.just(2.0)),
    retry=st.builds(RetryLimits, attempts=st.integers(1, 2)),
    extras=EXTRAS.map(MappingProxyType),
) | st.just(ProviderSettings("any", retired=True))
SETTINGS = st.builds(
    Settings,
    grpc=st.builds(
        GrpcSettings,
        listen=LISTEN,
        tls=st.none() | st.builds(TlsFiles, FILES, FILES, st.none() | FILES),
        default_deadline_s=st.sampled_from([1.0, 2.0]),
        server=st.sampled_from(GrpcServerKind),
        max_calls=st.integers(1, 2),
        max_message_bytes=st.integers(1024, 1025),
    ),
    callbacks=st.builds(
        CallbackSettings, listen=LISTEN, max_body_bytes=st.integers(1, 2), max_connections=st.integers(1, 2)
    ),
    wallet=st.builds(WalletSettings, tls=st.none() | st.builds(ClientTls, ca=FILES)),
    journal=st.builds(JournalSettings, st.none() | st.integers(1, 2)),
    log=st.builds(LogSettings, st.sampled_from(["info", "debug"])),
    providers=st.dictionaries(st.sampled_from(["kyren", "lucky"]), PROVIDERS).map(MappingProxyType),
)
SECTIONS = st.sets(st.sampled_from(Settings.__struct_fields__))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Settings, Settings]:
    """Two settings that differ in some sections, as a file does from its edited version."""
    before, other = draw(SETTINGS), draw(SETTINGS)
    return before, structs.replace(before, **{section: getattr(other, section) for section in draw(SECTIONS)})


def at(settings: Settings, path: str) -> Any:
    """The value at a path; None where there is none."""
    value: Any = settings
    keys = path.replace("'odd key'", "odd key").split(".")
    for key in keys:
        value = (
            value.get(key) if isinstance(value, MappingProxyType | dict) else getattr(value, key, in_extras(value, key))
        )
    return value


def in_extras(value: Any, key: str) -> Any:
    return value.extras.get(key) if isinstance(value, ProviderSettings) else None


@given(pairs())
def test_each_difference_is_listed_and_nothing_else(pair: tuple[Settings, Settings]) -> None:
    """Equal settings have none, the values at each path differ, and the reverse comparison lists the same paths."""
    before, after = pair
    found = changes(before, after)
    assert bool(found) == (before != after)
    assert changes(before, before) == changes(after, after) == type(found)()
    back = changes(after, before)
    assert (set(back.added), set(back.removed), set(back.changed)) == (
        set(found.removed),
        set(found.added),
        set(found.changed),
    )
    for path in found.changed:
        assert at(before, path) != at(after, path), path
    served = [{name for name, each in settings.providers.items() if not each.retired} for settings in (before, after)]
    assert (set(found.added), set(found.removed)) == (served[1] - served[0], served[0] - served[1])


@given(pairs())
def test_what_is_not_listed_is_equal(pair: tuple[Settings, Settings]) -> None:
    """Each section and each provider without a listed path is equal."""
    before, after = pair
    found = changes(before, after)
    for section in Settings.__struct_fields__:
        named = any(path.startswith(f"{section}.") for path in found.changed)
        if not named and (section != "providers" or not (found.added or found.removed)):
            assert getattr(before, section) == getattr(after, section)
    for name in before.providers.keys() & after.providers.keys() - {*found.added, *found.removed}:
        if not any(path.startswith(f"providers.{name}.") for path in found.changed):
            assert before.providers[name] == after.providers[name]


@given(pairs())
def test_no_value_is_listed(pair: tuple[Settings, Settings]) -> None:
    """Paths hold keys only, neither secrets nor other values."""
    before, after = pair
    listed = msgspec.json.encode(changes(before, after)).decode()
    for value in ("secret-", ".example", "127.0.0.1", ".pem", "a value", "192.0.2"):
        assert value not in listed


@given(pairs())
def test_what_is_created_at_the_start_requires_a_restart(pair: tuple[Settings, Settings]) -> None:
    """Listeners, TLS, the store and the wallet require a restart; everything else can be reloaded."""
    before, after = pair
    fixed = structs.replace(
        after,
        grpc=structs.replace(
            before.grpc, default_deadline_s=after.grpc.default_deadline_s, max_calls=after.grpc.max_calls
        ),
        callbacks=structs.replace(after.callbacks, listen=before.callbacks.listen),
        wallet=before.wallet,
    )
    assert requires_restart(changes(before, fixed)) == ()
    named = {problem.path for problem in requires_restart(changes(before, after))}
    assert named == {
        path
        for path in changes(before, after).changed
        if path.startswith(
            ("grpc.listen", "grpc.tls", "grpc.server", "grpc.max_message", "callbacks.listen", "wallet.")
        )
    }
