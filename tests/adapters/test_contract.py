"""The helpers of every decoder: the meaning of an HTTP status, and a provider's text made safe to show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import Account, AdapterSettings, RefusalKind, Secret, kind_by_status, sanitize_text


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
    """429, 5xx, 401, 403 and 3xx have one meaning; for any other status the body decides."""
    assert {kind_by_status(status) for status in statuses} == {kind}


@given(st.text())
def test_text_is_printable(given_text: str) -> None:
    """Control characters and lone surrogates are removed."""
    text = sanitize_text(_account(), given_text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in text)


@given(st.text(), st.text(min_size=4), st.text())
def test_text_never_has_our_token(before: str, token: str, after: str) -> None:
    """A token that the provider echoes is masked, at any place and with any characters."""
    assert token not in sanitize_text(_account(token), before + token + after)


@pytest.mark.parametrize(("token", "echo"), [("s3cr3t-value", "s3cr3t\n-value"), ("s3cr3t\t-value", "s3cr3t\t-value")])
def test_a_token_with_control_characters_is_masked(token: str, echo: str) -> None:
    """Control characters, in the echo or in the token itself, hide no token."""
    assert sanitize_text(_account(token), echo) == "***"
