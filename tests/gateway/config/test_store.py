"""TLS of the connections to PostgreSQL, as the configuration has it."""

from pathlib import Path

import pytest

from gateway.config import ClientTls, ConfigInvalid
from tests.support.configured import read


def test_the_files_of_tls_are_read(tmp_path: Path) -> None:
    """An authority alone, or with a certificate and its key, goes with a url that does not contradict it."""
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    for path in files.values():
        path.touch()
    written = ", ".join(f"{name} = '{path.name}'" for name, path in files.items())
    for mode in ("", "?sslmode=verify-full", "?sslmode=verify-ca"):
        url = f"postgresql://u:hidden@h/db{mode}"
        assert read(tmp_path, f"[store]\nurl = '{url}'\ntls = {{ {written} }}").store.tls == ClientTls(**files)
    assert read(tmp_path, "[store]\nurl = 'postgresql://u:hidden@h/db'").store.tls is None


@pytest.mark.parametrize(
    ("content", "path", "says"),
    [
        ("url = 'postgresql://u:hidden@h/db?sslmode=prefer'", "store.url", "sslmode=verify-full"),
        ("url = 'postgresql://u:hidden@h/db?sslmode=allow'", "store.url", "unencrypted"),
        ("url = 'postgresql://u:hidden@h/db?sslmode=on'", "store.url", "disable, require, verify-ca"),
        ("url = 'postgresql://u:hidden@h/db?sslmode=verify-ca'", "store.url", "[store] tls"),
        (
            "url = 'postgresql://u:hidden@h/db?sslrootcert=ca.pem'",
            "store.url",
            "write [store] tls",
        ),
        ("url = 'postgresql://u:hidden@h/db?sslmod=disable'", "store.url", "write sslmode"),
        (
            "url = 'postgresql://u:hidden@h/db'\ntls = { cert = 'gateway.toml' }",
            "store.tls.key",
            "go together",
        ),
        ("url = 'postgresql://u:hidden@h/db'\ntls = { client_ca = 'x' }", "store.tls.client_ca", "known here"),
        ("url = 'postgresql://u:hidden@h/db?sslmode=disable'\ntls = {}", "store.tls", "remove one"),
        (
            "url = 'postgresql://u:hidden@h/db?sslmode=require'\ntls = { ca = 'gateway.toml' }",
            "store.tls",
            "verify-full",
        ),
        ("url = 'postgresql:///db?host=/run/pg'\ntls = {}", "store.tls", "Unix socket"),
        ("tls = {}", "store.tls", "is for PostgreSQL"),
    ],
)
def test_tls_that_cannot_be_used_is_one_problem(tmp_path: Path, content: str, path: str, says: str) -> None:
    """The problem has the path of its key, says what to write, and never repeats the password."""
    with pytest.raises(ConfigInvalid) as caught:
        read(tmp_path, f"[store]\n{content}")
    (problem,) = caught.value.problems
    assert problem.path == path
    assert says in problem.message
    assert "hidden" not in problem.message
