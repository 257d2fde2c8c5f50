"""A provider's authority and client certificate."""

from pathlib import Path

import pytest

from gateway.config import ClientTls, ConfigInvalid
from tests.support.configured import GOOD_PROVIDER, read


def test_the_files_are_relative_to_the_configuration(tmp_path: Path) -> None:
    """Each may be absent, but a certificate and its key go together."""
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    files = 'tls = { ca = "ca.pem", cert = "cert.pem", key = "key.pem" }'
    settings = read(tmp_path, f"[providers.acme]\n{GOOD_PROVIDER}{files}\n")
    assert settings.providers["acme"].tls == ClientTls(*(tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")))
    assert settings.providers["acme"].extras == {}


@pytest.mark.parametrize(
    ("keys", "path", "says"),
    [
        ("base_url = 'http://acme.example'\ntls = { ca = 'gateway.toml' }", "tls", "https://"),
        ("tls = { cert = 'gateway.toml' }", "tls.key", "go together"),
        ("tls = { ca = 'no.pem' }", "tls.ca", "no.pem"),
        ("tls = { client_ca = 'x' }", "tls.client_ca", "known here: ca, cert, key"),
    ],
)
def test_an_invalid_value_is_reported_with_its_path(tmp_path: Path, keys: str, path: str, says: str) -> None:
    """TLS needs https, both of certificate and key, and files that can be read."""
    with pytest.raises(ConfigInvalid) as refused:
        read(tmp_path, f"[providers.acme]\n{keys}")
    found = {problem.path: problem.message for problem in refused.value.problems}
    assert says in found[f"providers.acme.{path}"]
