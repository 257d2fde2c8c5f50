"""Known secrets are found, however many there are."""

import json
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.contract import Secret
from gateway.masking.by_value import KnownSecrets, SecretValueMatcher


def tokens(length: int, number: int = 200) -> list[Secret]:
    """Tokens such as hundreds of providers have."""
    return [Secret(sha256(f"token {index}".encode()).hexdigest()[:length]) for index in range(number)]


@settings(deadline=None)  # each example builds a matcher for two hundred secrets
@given(
    length=st.sampled_from([4, 5, 8, 14, 15, 16, 40]),
    pieces=st.lists(st.integers(0, 199) | st.binary(max_size=9), max_size=12),
    in_base64=st.booleans(),
)
def test_many_secrets_give_the_same_ranges_as_each_alone(
    length: int, pieces: list[int | bytes], in_base64: bool
) -> None:
    """Many secrets together give the same ranges as each alone."""
    secrets = tokens(length)
    raw = b"".join(secrets[piece].reveal().encode() if isinstance(piece, int) else piece for piece in pieces)
    data = b64encode(raw) if in_base64 else raw
    alone = {found for secret in secrets for found in SecretValueMatcher([secret]).find(data)}
    assert set(SecretValueMatcher(secrets).find(data)) == alone


@pytest.mark.parametrize("around", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_one_of_many_secrets_is_found_at_any_offset(around: int) -> None:
    """The index finds a secret at every offset within its stride."""
    secrets = tokens(40)
    data = b"x" * around + secrets[7].reveal().encode() + b"y"
    assert [found[:2] for found in SecretValueMatcher(secrets).find(data)] == [(around, around + 40)]


def test_few_of_many_secrets_are_candidates() -> None:
    """The time for a message does not grow with the number of providers."""
    secrets = tokens(40)
    data = b'{"userId":"player-1","token":"%s"}' % secrets[7].reveal().encode()
    assert 1 <= len(list(SecretValueMatcher(secrets).candidates(data))) <= 2


def test_learning_a_secret_keeps_the_known_ones() -> None:
    """One matcher finds both, and it is replaced only if a secret is new."""
    old, new = tokens(40)[:2]
    secrets = KnownSecrets([old])
    before = secrets.values
    secrets.learn([old])
    assert secrets.values is before
    secrets.learn([new, old])
    assert all(secrets.values.holds(secret) for secret in (old, new))
    data = f"{old.reveal()} {new.reveal()}".encode()
    assert sorted(found[:2] for found in secrets.values.find(data)) == [(0, 40), (41, 81)]


ESCAPES: dict[str, Callable[[str], str]] = {
    "json": lambda text: json.dumps(text)[1:-1],
    "json in UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "url": lambda text: quote(text, safe=""),
}


@settings(deadline=None)
@given(
    secret=st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=4, max_size=20),
    layers=st.lists(st.sampled_from(list(ESCAPES)), max_size=3),
)
def test_a_secret_is_found_in_any_order_of_escapes(secret: str, layers: list[str]) -> None:
    """A URL in JSON, JSON in a URL, and each within the other: the secret does not stay readable."""
    text = f"before {secret} after"
    for layer in layers:
        text = ESCAPES[layer](text)
    assert SecretValueMatcher([Secret(secret)]).find(text.encode())


@given(
    secret=st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=8, max_size=20),
    escape=st.sampled_from([*ESCAPES.values(), quote, quote_plus, str]),
    before=st.binary(max_size=5),
)
def test_an_escaped_secret_is_found_in_base64(secret: str, escape: Callable[[str], str], before: bytes) -> None:
    """JSON or a URL that is encoded as a whole hides no secret, at any offset."""
    encoded = b64encode(before + escape(secret).encode() + b"after")
    assert SecretValueMatcher([Secret(secret)]).find(encoded)
