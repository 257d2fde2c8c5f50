"""The secrets of an adapter's settings, however they are written."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import Account, AdapterSettings, Secret
from gateway.config import ConfigInvalid, ProviderSettings, adapter_settings, secrets_in
from tests.support.configured import GOOD_PROVIDER, read


class Signer(msgspec.Struct, frozen=True):
    """One of several keys."""

    name: str
    secret: Secret


class VaultSettings(AdapterSettings, frozen=True):
    """Secrets at every depth."""

    signing_key: Secret
    signers: tuple[Signer, ...] = ()
    keys: dict[str, Secret] = msgspec.field(default_factory=dict)
    spare: Secret | None = None
    failure: str = ""
    attempts: int = 1

    def __post_init__(self) -> None:
        if self.failure == "value":
            raise ValueError(f"signing_key is {self.signing_key.reveal()}, which is not hexadecimal")
        if self.failure == "bug":
            raise KeyError(self.signing_key.reveal())


WRITTEN = """
signing_key = "plain-1"
signers = [{ name = "a", secret = "plain-2" }, { name = "b", secret = { env = "SIGNER" } }]
keys = { old = "plain-3", new = { file = "new.key" } }
spare = { env = "SPARE" }
"""
ALL = {"plain-1", "plain-2", "plain-3", "by-env-1", "by-env-2", "by-file"}


def provider(folder: Path, lines: str) -> ProviderSettings:
    (folder / "new.key").write_text("by-file\n")
    settings = read(folder, f"[providers.acme]\n{GOOD_PROVIDER}{lines}", SIGNER="by-env-1", SPARE="by-env-2")
    return settings.providers["acme"]


def test_every_declared_secret_is_found(tmp_path: Path) -> None:
    """A plain string, `{ env }` and `{ file }` are secrets alike, in nested structs, lists and tables too."""
    converted = adapter_settings(provider(tmp_path, WRITTEN), VaultSettings)
    assert {secret.reveal() for secret in secrets_in(Account("acme", converted))} == ALL
    assert not any(value in repr(converted) for value in ALL)


@given(
    st.recursive(
        st.text(),
        lambda inner: st.one_of(st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(st.integers(), inner)),
    )
)
def test_a_secret_is_found_at_any_depth(value: object) -> None:
    """All strings of a tree are found once they are Secrets, and nothing else is."""
    plain: list[str] = []

    def hidden(part: object) -> object:
        match part:
            case str():
                plain.append(part)
                return Secret(part)
            case dict():
                return {key: hidden(inner) for key, inner in part.items()}
            case list() | tuple():
                return type(part)(hidden(inner) for inner in part)
        return part

    assert sorted(secret.reveal() for secret in secrets_in(hidden(value))) == sorted(plain)


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ('failure = "value"', "providers.acme.signing_key"),
        ('failure = "bug"', "providers.acme"),
        ('attempts = "many"', "providers.acme.attempts"),
        ('signers = [{ name = "a" }]', "providers.acme.signers[0]"),
    ],
)
def test_no_problem_shows_a_secret(tmp_path: Path, lines: str, path: str) -> None:
    """A problem that the adapter's own check or its bug writes is masked."""
    with pytest.raises(ConfigInvalid) as raised:
        adapter_settings(provider(tmp_path, f'signing_key = "plain-1"\n{lines}'), VaultSettings)
    (problem,) = raised.value.problems
    assert problem.path == path
    assert "plain-1" not in str(problem)
    assert raised.value.__context__ is None  # a traceback would show that one too


def test_a_nested_reference_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """The problem names the key, the place in it and the variable."""
    with pytest.raises(ConfigInvalid) as raised:
        provider(tmp_path, 'keys = { new = [{ env = "MISSING" }] }')
    (problem,) = raised.value.problems
    assert str(problem).startswith("providers.acme.keys: .new: [0]: the environment variable 'MISSING' is not set")
