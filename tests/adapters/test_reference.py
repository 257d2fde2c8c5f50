"""The form of references."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import is_reference


@pytest.mark.parametrize("text", ["585c1306f89c56f5", "a b", "é", "参照", "x" * 255, "~!@#$%^&*()", "\U0001f600"])
def test_visible_texts_are_references(text: str) -> None:
    """Any visible characters, with plain spaces between them."""
    assert is_reference(text)


@pytest.mark.parametrize(
    "character",
    [
        *(" ", "\t", "\n", "\0", "\x7f", "\x85", "\xa0", "\xad", "\u034f", "\u061c", "\u115f", "\u180e", "\u2003"),
        *(chr(code) for code in (*range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070))),
        *("\u3000", "\u3164", "\ufe0f", "\ufeff", "\uffa0", "\ufff9", "\ud800", "\ue000", "\uffff", "\U0001d159"),
        *("\U000e0001",),
    ],
    ids=ascii,
)
def test_blank_ends_and_invisible_characters_are_refused(character: str) -> None:
    """At the beginning and at the end; in the middle too, but for a plain space."""
    assert not is_reference(character)
    assert not is_reference(f"{character}ref")
    assert not is_reference(f"ref{character}")
    assert is_reference(f"r{character}f") == (character == " ")


@given(st.text(max_size=40))
def test_one_of_two_unicode_forms_is_a_reference(text: str) -> None:
    """Of two texts that Unicode defines to be the same, at most one is accepted."""
    composed, apart = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert composed == apart or not is_reference(apart)


@pytest.mark.parametrize("text", ["e\u0301", "\u212b", "\u1112\u1161\u11ab"], ids=ascii)
def test_a_look_alike_in_another_unicode_form_is_refused(text: str) -> None:
    """Its composed form is accepted, and only that one."""
    assert not is_reference(text)
    assert is_reference(unicodedata.normalize("NFC", text))


@given(st.text(max_size=300))
def test_a_reference_has_no_character_without_a_shape(text: str) -> None:
    """Whatever is accepted has 1 to 255 characters, none of them of the Unicode categories C and Z but a space."""
    if is_reference(text):
        assert 1 <= len(text) <= 255
        assert all(each == " " or unicodedata.category(each)[0] not in "CZ" for each in text)
        assert text.strip() == text
