"""An operator's mistakes: each is one sentence that says what happened, to what, and what to do, and no traceback."""

import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.support.gateway import callback_key, configuration, family_table
from tests.support.ports import held_port
from tests.support.process import run_here

Mistake = Callable[[Path], None]
"""Made in a valid configuration file."""


def replaced(old: str, new: str) -> Mistake:
    """Write this in place of that."""

    def make(config: Path) -> None:
        text = config.read_text()
        assert old in text
        config.write_text(text.replace(old, new, 1))

    return make


def store(url: str) -> Mistake:
    """Another store."""

    def make(config: Path) -> None:
        replaced(f"sqlite:///{config.with_name('gateway.db')}", url)(config)

    return make


def unreachable_store(config: Path) -> None:
    """A port where nothing listens."""
    with held_port() as port:
        store(f"postgresql://user:hunter2@127.0.0.1:{port}/db?sslmode=disable")(config)


def tls(*, cert: str = "good", key: str = "good") -> Mistake:
    """Files of certificates, which do not fit."""

    def make(config: Path) -> None:
        authority = trustme.CA()
        old = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        leaves = {
            "good": authority.issue_cert("localhost"),
            "other": authority.issue_cert("localhost"),
            "old": authority.issue_cert("localhost", not_after=old),
        }
        for name, leaf in leaves.items():
            config.with_name(f"{name}.crt").write_bytes(leaf.cert_chain_pems[0].bytes())
            config.with_name(f"{name}.key").write_bytes(leaf.private_key_pem.bytes())
        config.with_name("junk.crt").write_text("no certificate")
        for file in config.parent.glob("*.key"):
            file.chmod(0o600)
        replaced("[grpc]", f'[grpc]\ntls = {{ cert = "{cert}.crt", key = "{key}.key" }}')(config)

    return make


MISTAKES: dict[str, tuple[Mistake, str]] = {
    "missing file": (
        Path.unlink,
        "toml' cannot be read: No such file or directory; name the file with --config",
    ),
    "bad TOML": (replaced("[admin]", "[admin"), r"is not TOML: .*\(at line 7, column 7\)"),
    "duplicate key": (replaced("[admin]", 'listen = "x"\n[admin]'), "written twice: remove one"),
    "wrong key": (
        replaced("[callbacks]\nlisten", "[callbacks]\nlissten"),
        "callbacks.lissten: unknown key; did you",
    ),
    "wrong type": (
        replaced("[callbacks]", '[callbacks]\nmax_connections = "9"'),
        "must be a whole number without",
    ),
    "unreachable database": (unreachable_store, "nothing listens there; start the server"),
    "unknown database host": (store("postgresql://u@nowhere.invalid/db"), "there is no such host; check .store. url"),
    "bogus sslmode": (
        store("postgresql://u@h/db?sslmode=maybe"),
        "another sslmode than disable.*write one",
    ),
    "no folder for SQLite": (store("sqlite:////nowhere/gateway.db"), "its folder does not exist; make it"),
    "unknown adapter": (
        replaced('"luckymonaco"', '"luckymonoco"'),
        "no adapter 'luckymonoco'. Known are",
    ),
    "weak key": (replaced(callback_key("lucky"), "short"), "shorter than 32 characters.*openssl rand"),
    "missing secret": (replaced('"partner-1"', '{ file = "none" }'), "none' cannot be read: No such file"),
    "secret that is a folder": (replaced('"partner-1"', '{ file = "." }'), "cannot be read: Is a directory"),
    "unset variable": (replaced('"partner-1"', '{ env = "NOT_SET_HERE" }'), "'NOT_SET_HERE' is not set; set it before"),
    "bad certificate": (tls(cert="junk"), "grpc.tls: cannot be used: a file is no PEM.*name PEM files"),
    "key mismatch": (tls(key="other"), "grpc.tls: cannot be used: the key is of another certificate"),
    "expired": (tls(cert="old", key="old"), "grpc.tls.cert: expired at 2020-01-01.*name a certificate that is valid"),
}


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_is_explained(tmp_path: Path, name: str) -> None:
    """`check` exits with 2, and with the sentence that an operator needs."""
    config = configuration(tmp_path, family_table("lucky", "luckymonaco", "http://127.0.0.1:9"))
    make, says = MISTAKES[name]
    make(config)
    ended = await run_here("check", "--config", str(config))
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert re.search(says, line), line
    assert "hunter2" not in line
