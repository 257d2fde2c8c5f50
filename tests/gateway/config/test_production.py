"""What is valid and yet unsafe: advised by `check`, refused by `check --production`."""

from pathlib import Path

import pytest

from gateway.config import Deployment, production_problems, production_warnings, warnings
from tests.support.configured import GOOD_PROVIDER, KEY, read


def test_unsafe_settings_are_warnings(tmp_path: Path) -> None:
    """Unencrypted listeners and private addresses are reported; the settings are valid."""
    found = warnings(
        read(
            tmp_path,
            """
            [grpc]
            listen = "0.0.0.0:50051"
            allow_anyone = true
            [callbacks]
            listen = "0.0.0.0:8080"
            [providers.acme]
            adapter = "acme"
            base_url = "https://127.0.0.1:8443"
            [providers.plain]
            adapter = "acme"
            base_url = "http://acme.example"
            allow_plain_http = true
            """,
        )
    )
    assert [problem.path for problem in found] == [
        "grpc.listen",
        "callbacks.listen",
        "providers.acme.base_url",
        "providers.plain.base_url",
    ]


def test_a_safe_configuration_has_no_warnings(tmp_path: Path) -> None:
    """Long keys, loopback listeners and declared proxies give no warning; a proxy network of all addresses does."""
    lines = f"[providers.acme]\n{GOOD_PROVIDER}callback_keys = ['{KEY}']\n[providers.old]\nretired = true"
    assert warnings(read(tmp_path, lines)) == ()
    proxied = "[callbacks]\nlisten = '0.0.0.0:8080'\ntrusted_proxies = ['10.0.0.0/8']"
    assert warnings(read(tmp_path, proxied)) == ()
    open_to_all = proxied.replace("10.0.0.0/8", "0.0.0.0/0")
    assert [problem.path for problem in warnings(read(tmp_path, open_to_all))] == ["callbacks.trusted_proxies[0]"]


@pytest.mark.parametrize(
    ("wallet", "advised"),
    [
        ('target = "dns:///wallet.example.com:443"', True),
        ('target = "wallet.example.com:443"', True),
        ('target = "dns:///wallet.example.com:443"\ntls = {}', False),
        ('target = "dns:///127.0.0.1:443"', False),
        ('target = "dns:///[::1]:443"', False),
        ('target = "localhost:443"', False),
        ('target = "unix:/run/wallet.sock"', False),
        ('target = "builtin"', False),
    ],
)
def test_a_remote_wallet_without_tls_is_a_warning(tmp_path: Path, wallet: str, advised: bool) -> None:
    """A wallet that is called over a network needs TLS; one on this host does not."""
    paths = {problem.path for problem in warnings(read(tmp_path, f"[wallet]\n{wallet}"))}
    assert paths == ({"wallet.target"} if advised else set())


SAFE = """
[grpc]
listen = "127.0.0.1:0"
reflection = false
[callers.backoffice]
jwt_subject = "backoffice"
roles = ["operator"]
[jwt]
issuer = "https://issuer.example"
audience = "session-gateway"
jwks_file = "jwks.json"
[callbacks]
listen = "0.0.0.0:8080"
trusted_proxies = ["10.0.0.0/8"]
[admin]
listen = "127.0.0.1:9090"
[store]
url = { env = "STORE" }
[log]
level = "info"
[providers.acme]
adapter = "acme"
base_url = "https://acme.example"
token = { env = "TOKEN" }
callback_keys = [{ file = "key" }]
max_amount = { USD = "1000" }
signing = { env = "SIGNING" }
[providers.old]
retired = true
"""
POSTGRES = "postgresql://gateway:pass@db.example/gateway"


def deployment(folder: Path, content: str, store: str = f"{POSTGRES}?sslmode=verify-full") -> Deployment:
    (folder / "key").write_text(KEY)
    (folder / "jwks.json").write_text("{}")
    settings = read(folder, content, STORE=store, TOKEN="a-token", SIGNING="a-seal")
    return Deployment(settings, with_callbacks=frozenset({"acme", "old"}))


def test_a_production_file_is_accepted(tmp_path: Path) -> None:
    """Secrets by reference, TLS or loopback, and callback keys are what production needs; SQLite is valid."""
    assert production_problems(deployment(tmp_path, SAFE)) == ()
    assert production_problems(deployment(tmp_path, SAFE, "sqlite:///gateway.db")) == ()
    assert production_warnings(deployment(tmp_path, SAFE)) == ()


@pytest.mark.parametrize(
    ("safe", "unsafe", "path"),
    [
        ('[callers.backoffice]\njwt_subject = "backoffice"\nroles = ["operator"]\n', "", "callers"),
        ('"https://acme.example"', '"http://acme.example"\nallow_plain_http = true', "providers.acme.allow_plain_http"),
        ('"https://acme.example"', '"http://acme.example"\nallow_plain_http = true', "providers.acme.base_url"),
        ("signing =", "allow_private_addresses = true\nsigning =", "providers.acme.allow_private_addresses"),
        ("callback_keys =", "# callback_keys =", "providers.acme.callback_keys"),
        ('trusted_proxies = ["10.0.0.0/8"]', "", "callbacks.listen"),
        ("10.0.0.0/8", "0.0.0.0/0", "callbacks.trusted_proxies[0]"),
        ('"127.0.0.1:0"', '"0.0.0.0:50051"', "grpc.listen"),
        ('"127.0.0.1:0"', '"127.0.0.1:0"\nallow_anyone = true', "grpc.allow_anyone"),
        ('{ env = "TOKEN" }', '"a-token"', "providers.acme.token"),
        ('{ file = "key" }', f'"{KEY}"', "providers.acme.callback_keys[0]"),
        ('{ env = "STORE" }', f'"{POSTGRES}?sslmode=verify-full"', "store.url"),
        ('{ env = "STORE" }', '"postgresql://127.0.0.1/gateway?password=pass"', "store.url"),
        ('{ env = "STORE" }', '"postgresql://127.0.0.1/gateway?passw%6Frd=pass"', "store.url"),
        ('"info"', '"debug"', "log.level"),
        ("[log]", '[wallet]\ntarget = "wallet.example:443"\n[log]', "wallet.target"),
    ],
)
def test_an_unsafe_key_is_refused_for_production(tmp_path: Path, safe: str, unsafe: str, path: str) -> None:
    """Each unsafe key is refused with its path and what to write, and no message holds a secret."""
    assert safe in SAFE
    found = production_problems(deployment(tmp_path, SAFE.replace(safe, unsafe)))
    assert path in [problem.path for problem in found]
    assert not any(secret in str(problem) for problem in found for secret in (KEY, "a-token", "pass@", "=pass"))


@pytest.mark.parametrize(
    ("url", "advised"),
    [
        ("postgresql://u:hunter2@db/gateway", ""),
        ("postgresql://u:hunter2@db/gateway?sslmode=verify-full", ""),
        ("postgresql://u:hunter2@db/gateway?sslmode=disable", "unencrypted"),
        ("postgresql://u:hunter2@localhost,db/gateway?sslmode=require", "db:5432: the server is not verified"),
        ("postgresql://u:hunter2@localhost,127.0.0.1,[::1]/gateway?sslmode=disable", ""),
        ("postgresql:///gateway?host=/run/pg&sslmode=disable", ""),
        ("sqlite:///gateway.db", ""),
    ],
)
def test_a_database_without_verified_tls_is_a_warning(tmp_path: Path, url: str, advised: str) -> None:
    """Only what the url says explicitly connects to another host without TLS, or to any server; both are reported."""
    found = warnings(read(tmp_path, f"[store]\nurl = '{url}'"))
    assert [problem.path for problem in found] == (["store.url"] if advised else [])
    for problem in found:
        assert advised in problem.message
        assert "hunter2" not in problem.message


def test_an_admin_listener_for_others_is_advice(tmp_path: Path) -> None:
    """Probes come from other hosts: an admin listener that they reach is advised of, and not refused."""
    found = deployment(tmp_path, SAFE.replace("127.0.0.1:9090", "0.0.0.0:9090"))
    assert production_problems(found) == ()
    assert [problem.path for problem in production_warnings(found)] == ["admin.listen"]
