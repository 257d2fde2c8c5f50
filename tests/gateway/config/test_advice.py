"""Warnings about what is valid and yet unsafe."""

from pathlib import Path

import pytest

from gateway.config import warnings
from tests.support.configured import GOOD_PROVIDER, KEY, read


def test_unsafe_settings_are_warnings(tmp_path: Path) -> None:
    """Short keys, unencrypted listeners and private addresses are reported; the settings are valid."""
    found = warnings(
        read(
            tmp_path,
            f"""
            [grpc]
            listen = "0.0.0.0:50051"
            [callbacks]
            listen = "0.0.0.0:8080"
            [providers.acme]
            adapter = "acme"
            base_url = "https://127.0.0.1:8443"
            callback_keys = ["{KEY}", "short"]
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
        "providers.acme.callback_keys[1]",
        "providers.acme.max_amount",
        "providers.acme.base_url",
        "providers.plain.base_url",
    ]
    assert "short" not in found[2].message.replace("shorter", "")


def test_a_safe_configuration_has_no_warnings(tmp_path: Path) -> None:
    """Long keys, loopback listeners and declared proxies give no warning; a proxy network of all addresses does."""
    keys = f"max_amount = {{ USD = '1' }}\ncallback_keys = ['{KEY}']"
    lines = f"[providers.acme]\n{GOOD_PROVIDER}{keys}\n[providers.old]\nretired = true"
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
