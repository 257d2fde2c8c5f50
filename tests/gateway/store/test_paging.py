"""Page tokens: opaque text that comes back as it was given, and nothing else does."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store.base import PageTokenUnknown
from gateway.store.paging import decode, encode


@given(st.lists(st.text(max_size=20), max_size=4))
def test_a_position_comes_back(parts: list[str]) -> None:
    """What was encoded is decoded, and the token needs no quoting in a URL."""
    token = encode(*parts)
    assert decode(token, len(parts)) == tuple(parts)
    assert not set(token) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@pytest.mark.parametrize(
    "token",
    ["x", "é", "====", encode("a"), encode("a", "b", "c"), encode("a", "b") + "=", " " + encode("a", "b"), "A" * 5000],
)
def test_a_token_of_another_list_is_refused(token: str) -> None:
    """No text but a token of such a list opens a page."""
    with pytest.raises(PageTokenUnknown):
        decode(token, 2)


@given(st.text(max_size=40))
def test_any_text_is_a_token_or_refused(text: str) -> None:
    """No text raises anything but PageTokenUnknown."""
    with suppress(PageTokenUnknown):
        assert encode(*decode(text, 2)) == text
