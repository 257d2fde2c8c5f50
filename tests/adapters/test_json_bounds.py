"""The bounds on a JSON text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import exceeded_bound
from adapters.json_bounds import MAX_DEPTH, MAX_VALUES


def test_values_are_counted_outside_strings() -> None:
    """A string may hold any number of commas and brackets."""
    assert exceeded_bound(json.dumps({"a": '[{,\\",' * 4000})) == ""
    assert exceeded_bound(json.dumps([1] * (MAX_VALUES - 2))) == ""


@pytest.mark.parametrize("text", ["[" + "1," * MAX_VALUES + "1]", '["' + '","' * MAX_VALUES + '"]', "," * 5000])
def test_too_many_values_are_refused(text: str) -> None:
    """Also in a text that is no JSON."""
    assert exceeded_bound(text) == f"of more than {MAX_VALUES} values"


def test_depth_is_bounded() -> None:
    """One more than the deepest is refused, in a text of any length."""
    assert exceeded_bound("[" * MAX_DEPTH + "]" * MAX_DEPTH) == ""
    assert exceeded_bound("[" * (MAX_DEPTH + 1)) == f"nested deeper than {MAX_DEPTH}"
    assert exceeded_bound("[]," * (MAX_DEPTH + 1)) == ""


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner, max_size=4), max_leaves=30))
def test_small_values_are_within_the_bounds(value: object) -> None:
    """What a message of a known dialect may hold is accepted."""
    assert exceeded_bound(json.dumps(value)) == ""
