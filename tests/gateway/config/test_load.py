"""Loading: a valid file becomes one frozen value, problems have their paths and show no secret."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import AdapterSettings, Secret
from gateway.config import (
    ClientTls,
    ConfigInvalid,
    JournalSettings,
    Listen,
    LogSettings,
    Problem,
    ProviderSettings,
    Settings,
    StoreSettings,
    TlsFiles,
    WalletSettings,
    adapter_settings,
    load,
)
from gateway.config.problems import InvalidValue
from gateway.config.values import base_url, listen
from tests.support.configured import GOOD_PROVIDER, KEY, read


def problems(folder: Path, content: str, **environ: str) -> dict[str, str]:
    """The problems of this content: message by path."""
    with pytest.raises(ConfigInvalid) as caught:
        read(folder, content, **environ)
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert len(found) == len(caught.value.problems)
    return found


def provider(folder: Path, lines: str, **environ: str) -> ProviderSettings:
    """The provider `acme` with these lines in its table."""
    return read(folder, f"[providers.acme]\n{lines}", **environ).providers["acme"]


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    """By default each listener is on loopback, the store is a file, and the wallet is the built-in ledger."""
    settings = read(tmp_path, "")
    assert settings == Settings()
    assert str(settings.grpc.listen) == "127.0.0.1:50051"
    assert (str(settings.callbacks.listen), str(settings.admin.listen)) == ("127.0.0.1:8080", "127.0.0.1:9090")
    assert (settings.grpc.default_deadline_s, settings.callbacks.max_body_bytes) == (10.0, 65536)
    assert settings.store.url.reveal() == "sqlite:///gateway.db"
    assert (settings.wallet.target, settings.log.level) == ("builtin", "info")


def test_every_key_is_read(tmp_path: Path) -> None:
    """Each key sets its field, and files are relative to the configuration's folder."""
    for name in ("cert.pem", "key.pem", "ca.pem"):
        (tmp_path / name).touch()
    (tmp_path / "callback.key").write_text(f"{KEY}\n", encoding="utf-8")
    settings = read(
        tmp_path,
        """
        [grpc]
        listen = "[::1]:0"
        default_deadline_s = 3
        tls = { cert = "cert.pem", key = "key.pem", client_ca = "ca.pem" }
        [callbacks]
        listen = "gateway.internal:443"
        tls = { cert = "cert.pem", key = "key.pem" }
        trusted_proxies = ["10.0.0.0/8", "2001:db8::1"]
        max_body_bytes = 4096
        [store]
        url = "sqlite:////var/lib/gateway.db"
        pool_size = 100
        [wallet]
        target = "dns:///wallet.example.com:443"
        tls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem" }
        attempt_timeout_s = 3
        references_migrated = true
        [journal]
        body_retention_days = 90
        [log]
        level = "debug"
        [providers.acme]
        adapter = "acme"
        base_url = "http://ACME.example:8000/api/"
        allow_plain_http = true
        allow_private_addresses = true
        token = { env = "ACME_TOKEN" }
        callback_keys = [{ file = "callback.key" }, "older~key"]
        callback_sources = ["203.0.113.0/24"]
        partner = "p-1"
        codes = ["17"]
        """,
        ACME_TOKEN="t-1",
    )
    assert settings.grpc.listen == Listen("::1", 0)
    assert str(settings.grpc.listen) == "[::1]:0"
    assert settings.grpc.default_deadline_s == 3.0
    assert settings.grpc.tls == TlsFiles(tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem")
    assert settings.callbacks.tls == TlsFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    assert settings.callbacks.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("2001:db8::1"))
    assert settings.callbacks.max_body_bytes == 4096
    assert settings.store == StoreSettings(Secret("sqlite:////var/lib/gateway.db"), pool_size=100)
    files = ClientTls(tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    assert settings.wallet == WalletSettings(
        "dns:///wallet.example.com:443", files, attempt_timeout_s=3.0, references_migrated=True
    )
    assert settings.journal == JournalSettings(body_retention_days=90)
    assert settings.log == LogSettings("debug")
    assert settings.providers["acme"] == ProviderSettings(
        name="acme",
        adapter="acme",
        base_url="http://acme.example:8000/api",
        allow_plain_http=True,
        allow_private_addresses=True,
        token=Secret("t-1"),
        callback_keys=(Secret(KEY), Secret("older~key")),
        callback_sources=(ip_network("203.0.113.0/24"),),
        extras={"partner": "p-1", "codes": ["17"]},
    )


@pytest.mark.parametrize(
    "url", ["postgres://u@h/db", "postgresql://u:p%2F@[::1]:5432/db?sslmode=require", "postgresql:///db?host=/run/pg"]
)
def test_a_postgresql_url_is_accepted(tmp_path: Path, url: str) -> None:
    """Both schemes, a password, options, and a socket folder in place of a host are valid."""
    assert read(tmp_path, f"[store]\nurl = '{url}'").store.url.reveal() == url


def test_every_listener_may_have_port_0(tmp_path: Path) -> None:
    """Listeners with port 0 at the same address are no conflict."""
    settings = read(tmp_path, "".join(f"[{name}]\nlisten = '[::1]:0'\n" for name in ("grpc", "callbacks", "admin")))
    assert settings.grpc.listen == settings.admin.listen == Listen("::1", 0)


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    """One load reports every problem of the file, each with its path."""
    found = problems(
        tmp_path,
        """
        grcp = 1
        store = "sqlite"
        [grpc]
        listn = "127.0.0.1:1"
        default_deadline_s = true
        [callbacks]
        trusted_proxies = ["10.0.0.0/8", "10.0.0.1/8", 5]
        [providers.Acme]
        adapter = "acme"
        base_ulr = "https://acme.example"
        callback_keys = "one"
        """,
    )
    assert found.keys() == {
        "grcp",
        "store",
        "grpc.listn",
        "grpc.default_deadline_s",
        "callbacks.trusted_proxies[1]",
        "callbacks.trusted_proxies[2]",
        "providers.Acme",
        "providers.Acme.base_url",
        "providers.Acme.callback_keys",
    }
    assert found["grpc.listn"] == "unknown key; did you mean listen?"
    assert found["grcp"] == "unknown key; did you mean grpc?"
    assert '"10.0.0.0/8"' in found["callbacks.trusted_proxies[1]"]
    assert "providers.Acme.base_ulr" in found["providers.Acme.base_url"]


@pytest.mark.parametrize(
    ("content", "path", "says"),
    [
        ("[grpc]\nlisten = 5", "grpc.listen", "string"),
        ("[grpc]\nlisten = ':80'", "grpc.listen", "0.0.0.0:80"),
        ("[grpc]\nlisten = '::1:80'", "grpc.listen", "[::1]:8080"),
        ("[grpc]\nlisten = '[1.2.3.4]:80'", "grpc.listen", "IPv6"),
        ("[grpc]\nlisten = 'a b:80'", "grpc.listen", "host name"),
        ("[grpc]\nlisten = '127.0.0.1:65536'", "grpc.listen", "65535"),
        ("[grpc]\ndefault_deadline_s = 0", "grpc.default_deadline_s", "between"),
        ("[grpc]\ndefault_deadline_s = nan", "grpc.default_deadline_s", "between"),
        ("[grpc]\ntls = { cert = 'no.pem' }", "grpc.tls.cert", "no.pem"),
        ("[grpc.tls]\n", "grpc.tls.key", "missing"),
        ("[grpc]\ntls = { ca = 'x' }", "grpc.tls.ca", "client_ca"),
        ("[callbacks]\nmax_body_bytes = 1.5", "callbacks.max_body_bytes", "whole number"),
        ("[callbacks]\nmax_body_bytes = 1", "callbacks.max_body_bytes", "between"),
        ("[callbacks]\ntrusted_proxies = '10.0.0.0/8'", "callbacks.trusted_proxies", "list"),
        ("[callbacks]\nlisten = '0.0.0.0:9090'", "admin.listen", "callbacks.listen"),
        ("[store]\nurl = 'postgresql://u:hidden@h/'", "store.url", "names no database"),
        ("[store]\nurl = 'postgresql:///db'", "store.url", "names no host"),
        ("[store]\nurl = 'postgresql://u:hidden@h:0/db'", "store.url", "port"),
        ("[store]\nurl = 'postgresql://u:hidden@h:x/db'", "store.url", "port"),
        ("[store]\nurl = 'mysql://u:hidden@h/db'", "store.url", "postgresql://"),
        ("[store]\npool_size = 2", "store.pool_size", "between 3 and 100"),
        ("[store]\npool_size = 101", "store.pool_size", "between 3 and 100"),
        ("[store]\nurl = 'sqlite://gateway.db'", "store.url", "sqlite:///relative"),
        ("[store]\nurl = 'sqlite:///:memory:'", "store.url", "durable"),
        ("[store]\nurl = 'sqlite:///g.db?mode=ro'", "store.url", "options"),
        ("[wallet]\ntarget = 'https://wallet.example'", "wallet.target", "dns:///host:port"),
        ("[wallet]\ntarget = 'dns:///'", "wallet.target", "builtin"),
        ("[wallet]\ntarget = 'dns:///a b'", "wallet.target", "builtin"),
        ("[wallet]\ntarget = 'http://w:1'", "wallet.target", "dns:///host:port"),
        ("[wallet]\ntarget = 'grpcs://w:1'", "wallet.target", "dns:///host:port"),
        ("[wallet]\ntls = {}", "wallet.tls", "elsewhere"),
        ("[wallet]\ntarget = 'dns:///w:1'\ntls = { cert = 'gateway.toml' }", "wallet.tls.key", "go together"),
        ("[wallet]\ntarget = 'dns:///w:1'\ntls = { key = 'gateway.toml' }", "wallet.tls.cert", "go together"),
        (
            "[wallet]\ntarget = 'dns:///w:1'\ntls = { client_ca = 'x' }",
            "wallet.tls.client_ca",
            "known here: ca, cert, key",
        ),
        ("[wallet]\ntraget = 'dns:///w:1'", "wallet.traget", "did you mean target"),
        ("[wallet]\ntarget = 'dns:///w:1'\nattempt_timeout_s = 3.1", "wallet.attempt_timeout_s", "between"),
        ("[journal]\nbody_retention_day = 1", "journal.body_retention_day", "did you mean body_retention_days"),
        ("[journal]\nbody_retention_days = 0", "journal.body_retention_days", "between 1"),
        ("[log]\nlevel = 'loud'", "log.level", "debug, info"),
        ("providers = []", "providers", "[providers]"),
        ("[providers]\nacme = 1", "providers.acme", "[providers.acme]"),
        ("[providers.'a b']\nretired = true", "providers.'a b'", "name"),
        ("[providers.acme]\nretired = 1", "providers.acme.retired", "true or false"),
    ],
)
def test_an_invalid_value_is_reported_with_its_path(tmp_path: Path, content: str, path: str, says: str) -> None:
    """Each invalid value is reported at its path, and the message says what to write."""
    found = problems(tmp_path, content)
    assert says in found[path]
    assert "hidden" not in str(found)


def test_a_file_that_is_not_toml_is_a_problem(tmp_path: Path) -> None:
    """A syntax error is reported with its line; a missing file and one that is not text are reported too."""
    assert "line 2" in problems(tmp_path, "[grpc]\nlisten = \n")[""]
    assert "too deep" in problems(tmp_path, f"deep = {'[' * 10_000}")[""]
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    for name, says in (("bytes.toml", "UTF-8"), ("absent.toml", "No such file")):
        with pytest.raises(ConfigInvalid, match=says):
            load(tmp_path / name, {})


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://acme.example", "allow_plain_http = true"),
        ("ftp://acme.example", "https://"),
        ("acme.example", "https://"),
        ("https://", "host"),
        ("https:///path", "host"),
        ("https://user:hidden@acme.example", "user or password"),
        ("https://acme.example/?a=hidden", "query"),
        ("https://acme.example/#", "fragment"),
        ("https://acme.example:0", "port"),
        ("https://acme.example:99999", "port"),
        ("https://[::1", "not a URL"),
        ("https://acme .example", "spaces"),
        ("https://acmé.example", "xn--"),
        ("https://acme.example\\\\@evil.example", "user or password"),
        ("https://acme.example/a\\\\b", "percent"),
    ],
)
def test_a_base_url_that_cannot_be_called_safely_is_refused(tmp_path: Path, url: str, says: str) -> None:
    """A base URL has only a scheme, a host, a port and a path, so that it hides no credential and no other host."""
    found = problems(tmp_path, f'[providers.acme]\nadapter = "acme"\nbase_url = "{url}"')
    assert says in found["providers.acme.base_url"]
    assert "hidden" not in str(found)


@given(st.text())
def test_parsers_handle_any_text(value: str) -> None:
    """For any text a parser returns a value that parses to itself, or raises InvalidValue."""
    for parse in (base_url, listen):
        try:
            found = parse(value)
        except InvalidValue:
            continue
        assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("5772156", "a number"),
        ("['hidden']", "a list"),
        ("''", "empty"),
        ("{ env = 'ABSENT' }", "'ABSENT' is not set"),
        ("{ env = 'EMPTY' }", "'EMPTY' is empty"),
        ("{ env = 'LINES' }", "control characters"),
        ("{ file = 'absent' }", "No such file"),
        ("{ file = 'empty' }", "'empty' is empty"),
        ("{ file = 'bytes' }", "UTF-8"),
        ("{ file = '.' }", "cannot be read"),
        ("{ env = 'LINES', file = 'empty' }", "a secret is"),
        ("{ evn = 'hidden' }", "did you mean env?"),
        ("{ env = 5772156 }", "a secret is"),
    ],
)
def test_an_invalid_secret_is_not_shown(tmp_path: Path, written: str, says: str) -> None:
    """The problem of a missing or malformed secret names its key and its source, and shows none of its value."""
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    (tmp_path / "bytes").write_bytes(b"\xffhidden")
    lines = f"[providers.acme]\n{GOOD_PROVIDER}token = {written}\ncallback_keys = [{written}]"
    found = problems(tmp_path, lines, EMPTY="", LINES="hidden\nhidden")
    assert found.keys() == {"providers.acme.token", "providers.acme.callback_keys[0]"}
    for message in found.values():
        assert says in message
        assert "hidden" not in message
        assert "5772156" not in message


def test_one_line_break_at_the_end_of_a_secret_file_is_not_part_of_it(tmp_path: Path) -> None:
    """One line break at the end of the file is removed; a second one is a problem."""
    for ending in ("", "\n", "\r\n"):
        (tmp_path / "token").write_bytes(f"t-1{ending}".encode())
        assert provider(tmp_path, f"{GOOD_PROVIDER}token = {{ file = 'token' }}").token == Secret("t-1")
    (tmp_path / "token").write_bytes(b"t-1\n\n")
    assert problems(tmp_path, f"[providers.acme]\n{GOOD_PROVIDER}token = {{ file = 'token' }}")


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    """The repr of settings holds neither secrets nor an adapter's keys."""
    settings = read(
        tmp_path, f"[providers.acme]\n{GOOD_PROVIDER}token = 'hidden'\ncallback_keys = ['hidden']\nextra = 'hidden'"
    )
    assert "acme" in repr(settings)
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize("key", ["a/b", "a b", "a%20b", "é", "a?b", ".", ".."])
def test_a_callback_key_needs_no_encoding_in_a_url(tmp_path: Path, key: str) -> None:
    """A key that a client would encode or drop is refused."""
    found = problems(tmp_path, f"[providers.acme]\n{GOOD_PROVIDER}callback_keys = ['{key}']")
    assert found.keys() == {"providers.acme.callback_keys[0]"}


def test_a_callback_key_serves_one_provider_once(tmp_path: Path) -> None:
    """A key that occurs twice is refused, with both paths and without the key; a provider may have two keys."""
    third = problems(tmp_path, f"[providers.acme]\n{GOOD_PROVIDER}callback_keys = ['a', 'b', 'c']")
    assert third.keys() == {"providers.acme.callback_keys"}
    found = problems(
        tmp_path,
        f"[providers.a]\n{GOOD_PROVIDER}callback_keys = ['{KEY}', 'other']\n"
        f"[providers.b]\n{GOOD_PROVIDER}callback_keys = ['another', '{KEY}']\n",
    )
    assert found.keys() == {"providers.b.callback_keys[1]"}
    assert "providers.a.callback_keys[0]" in found["providers.b.callback_keys[1]"]
    assert KEY not in str(found)


def test_a_retired_provider_needs_nothing_else(tmp_path: Path) -> None:
    """Only its name is read: its other keys may be absent or invalid."""
    assert provider(tmp_path, "retired = true") == ProviderSettings(name="acme", retired=True)
    assert provider(tmp_path, "retired = true\ntoken = { env = 'GONE' }\nbase_url = 5").token is None


class AcmeSettings(AdapterSettings, frozen=True, kw_only=True):
    """The adapter settings of a made-up vendor."""

    partner: str
    codes: frozenset[str] = frozenset()
    signing_key: Secret | None = None


def test_an_adapters_keys_become_its_own_type(tmp_path: Path) -> None:
    """The adapter's settings are typed, and its secrets are resolved."""
    lines = f"{GOOD_PROVIDER}partner = 'p-1'\ncodes = ['17']\nsigning_key = "
    for written in ("'s-1'", "{ env = 'SIGNING' }"):
        settings = adapter_settings(provider(tmp_path, lines + written, SIGNING="s-1"), AcmeSettings)
        assert settings == AcmeSettings(partner="p-1", codes=frozenset({"17"}), signing_key=Secret("s-1"))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", [("partner", "is missing; the adapter acme needs it")]),
        ("partner = 'p'\npartnr = 'p'", [("partnr", "unknown key; did you mean partner?")]),
        ("partner = 'p'\ncallback_key = 'hidden'", [("callback_key", "unknown key; did you mean callback_keys?")]),
        ("partner = 5", [("partner", "expected `str`, got `int`")]),
        ("partner = 'p'\ncodes = ['17', 18]", [("codes[1]", "expected `str`, got `int`")]),
        ("partner = { env = 'PARTNER' }", [("partner", "expected `str`, got `Secret`")]),
    ],
)
def test_problems_of_an_adapters_keys_have_their_paths(
    tmp_path: Path, lines: str, expected: list[tuple[str, str]]
) -> None:
    """Problems of an adapter's keys have the same form as those of other keys."""
    with pytest.raises(ConfigInvalid) as caught:
        adapter_settings(provider(tmp_path, GOOD_PROVIDER + lines, PARTNER="hidden"), AcmeSettings)
    assert caught.value.problems == tuple(Problem(f"providers.acme.{key}", message) for key, message in expected)


def test_an_adapters_invalid_secret_is_not_shown(tmp_path: Path) -> None:
    """The message for a secret of the wrong type does not show it."""
    given_settings = provider(tmp_path, f"{GOOD_PROVIDER}partner = 'p'\nsigning_key = 5772156")
    with pytest.raises(ConfigInvalid) as caught:
        adapter_settings(given_settings, AcmeSettings)
    assert [problem.path for problem in caught.value.problems] == ["providers.acme.signing_key"]
    assert "5772156" not in str(caught.value)
