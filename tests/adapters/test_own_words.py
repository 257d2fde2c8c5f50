"""What every adapter's decoder shares: an HTTP status' meaning, and a provider's words made fit to be shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import Account, AdapterSettings, RefusalKind, Secret, kind_by_status, own_words


def _account(token: str | None = None) -> Account[AdapterSettings]:
    return Account("p", AdapterSettings(), None if token is None else Secret(token))


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ([429], RefusalKind.THROTTLED),
        (range(500, 600), RefusalKind.FAILED),
        ([401, 403], RefusalKind.CREDENTIALS_REJECTED),
        (range(300, 400), RefusalKind.MALFORMED),
        ([100, 200, 201, 204, 299, 400, 402, 404, 410, 428, 499, 600], None),
    ],
)
def test_a_status_means_the_same_in_every_dialect(statuses: list[int], kind: RefusalKind | None) -> None:
    """429, 5xx, 401, 403 and 3xx are judged alone; whatever else is left to the body."""
    assert {kind_by_status(status) for status in statuses} == {kind}


@given(st.text())
def test_words_are_printable_and_short(text: str) -> None:
    """No control character and no half character passes, and never more than 200 characters."""
    words = own_words(_account(), text)
    assert len(words) <= 200
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in words)


@given(st.text(), st.text(min_size=4), st.text())
def test_words_never_hold_our_token(before: str, token: str, after: str) -> None:
    """A token that the provider echoes is masked, wherever it stands and whatever is in it."""
    assert token not in own_words(_account(token), before + token + after)


def test_a_token_is_masked_before_the_words_are_cut() -> None:
    """The cut at 200 characters leaves no half of a token standing."""
    assert own_words(_account("s3cr3t-value"), "x" * 195 + "s3cr3t-value") == "x" * 195 + "***"


def test_a_token_with_control_characters_between_is_found() -> None:
    """A token echoed with control characters inside is masked as it would be shown."""
    assert own_words(_account("s3cr3t-value"), "s3cr3t\n-value") == "***"
