"""What `check` refuses, and a gateway serves with a warning."""

from pathlib import Path

import pytest

from gateway.config import insecurities
from tests.support.configured import GOOD_PROVIDER, KEY, read

CONFIGURATION = f"""
[grpc]
tls = {{ cert = "cert.pem", key = "listener.pem", client_ca = "client-ca.pem" }}
[callers.reader]
certificate = "dns:reader.internal"
roles = ["reader"]
[jwt]
issuer = "https://issuer.example"
audience = "session-gateway"
jwks_file = "jwks.json"
[wallet]
target = "wallet.example:443"
tls = {{ ca = "wallet-ca.pem", cert = "cert.pem", key = "wallet.pem" }}
[store]
url = {{ file = "store-url" }}
[providers.acme]
{GOOD_PROVIDER}
token = {{ file = "token" }}
callback_keys = [{{ file = "callback-key" }}]
keys = {{ new = [{{ file = "signing" }}] }}
"""
FILES = {
    "token": "providers.acme.token",
    "callback-key": "providers.acme.callback_keys[0]",
    "signing": "providers.acme.keys.new[0]",
    "store-url": "store.url",
    "listener.pem": "grpc.tls.key",
    "wallet.pem": "wallet.tls.key",
}
TRUSTED = {
    "client-ca.pem": "grpc.tls.client_ca",
    "wallet-ca.pem": "wallet.tls.ca",
    "jwks.json": "jwt.jwks_file",
    "gateway.toml": "",
}


def paths(folder: Path) -> list[str]:
    return [problem.path for problem in insecurities(read(folder, CONFIGURATION), folder / "gateway.toml")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (*FILES, *TRUSTED, "cert.pem"):
        (tmp_path / name).write_text("postgresql://db.example/gateway" if name == "store-url" else KEY)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "cert.pem").chmod(0o644)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_others_can_access_is_refused(folder: Path, name: str) -> None:
    """Files of secrets and private keys of every section must be the owner's; their group may read them."""
    assert paths(folder) == []
    for mode in (0o400, 0o440, 0o640):
        (folder / name).chmod(mode)
        assert paths(folder) == []
    for mode in (0o604, 0o602, 0o660, 0o644, 0o444):
        (folder / name).chmod(mode)
        assert paths(folder) == [FILES[name]]


@pytest.mark.parametrize("name", TRUSTED)
def test_a_trusted_file_that_others_can_write_is_refused(folder: Path, name: str) -> None:
    """Who can write public keys, authorities or the configuration can call as anyone. All may read them."""
    for mode in (0o600, 0o664, 0o444):
        (folder / name).chmod(mode)
        assert paths(folder) == []
    for mode in (0o646, 0o602):
        (folder / name).chmod(mode)
        assert paths(folder) == [TRUSTED[name]]


def test_a_link_is_as_safe_as_its_file(folder: Path) -> None:
    """The mode of the file counts, not that of a link to it, which is always open."""
    (folder / "token").rename(folder / "real")
    (folder / "token").symlink_to("real")
    assert paths(folder) == []
    (folder / "real").chmod(0o644)
    assert paths(folder) == ["providers.acme.token"]


def test_a_short_callback_key_is_refused(tmp_path: Path) -> None:
    """A key needs 32 characters; the message does not show it."""
    settings = read(tmp_path, f"[providers.acme]\n{GOOD_PROVIDER}callback_keys = ['{'k' * 32}', '{'z' * 31}']")
    (problem,) = insecurities(settings)
    assert problem.path == "providers.acme.callback_keys[1]"
    assert "zz" not in str(problem)
