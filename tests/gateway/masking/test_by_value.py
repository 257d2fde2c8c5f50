"""Where known secrets stand, however many there are."""

from base64 import b64encode
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.contract import Secret
from gateway.masking.by_value import _MANY, KnownSecrets, SecretValueMatcher


def tokens(length: int, number: int = 200) -> list[Secret]:
    """As hundreds of providers have them."""
    return [Secret(sha256(f"token {index}".encode()).hexdigest()[:length]) for index in range(number)]


@settings(deadline=None)  # two hundred secrets are made ready for each example
@given(
    length=st.sampled_from([4, 5, 8, 14, 15, 16, 40]),
    pieces=st.lists(st.integers(0, 199) | st.binary(max_size=9), max_size=12),
    in_base64=st.booleans(),
)
def test_of_many_secrets_the_same_is_found_as_of_each_alone(
    length: int, pieces: list[int | bytes], in_base64: bool
) -> None:
    secrets = tokens(length)
    raw = b"".join(secrets[piece].reveal().encode() if isinstance(piece, int) else piece for piece in pieces)
    data = b64encode(raw) if in_base64 else raw
    alone = {span for secret in secrets for span in SecretValueMatcher([secret]).spans(data)}
    assert set(SecretValueMatcher(secrets).spans(data)) == alone


@pytest.mark.parametrize("around", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_one_of_many_secrets_is_found_wherever_it_stands(around: int) -> None:
    secrets = tokens(40)
    data = b"x" * around + secrets[7].reveal().encode() + b"y"
    assert [span[:2] for span in SecretValueMatcher(secrets).spans(data)] == [(around, around + 40)]


def test_of_many_secrets_few_are_looked_for() -> None:
    """The time that a message takes does not grow with the number of providers."""
    secrets = tokens(40)
    known = SecretValueMatcher(secrets)
    assert len(known._literals) > _MANY
    data = b'{"userId":"player-1","token":"%s"}' % secrets[7].reveal().encode()
    assert 1 <= len(list(known._likely(data))) <= 2


def test_what_is_learnt_is_known_beside_what_was_known() -> None:
    """In one look at both, and only where something is learnt is anything made anew."""
    old, new = tokens(40)[:2]
    secrets = KnownSecrets([old])
    before = secrets.values
    secrets.learn([old])
    assert secrets.values is before
    secrets.learn([new, old])
    assert all(secrets.values.holds(secret) for secret in (old, new))
    data = f"{old.reveal()} {new.reveal()}".encode()
    assert sorted(span[:2] for span in secrets.values.spans(data)) == [(0, 40), (41, 81)]
