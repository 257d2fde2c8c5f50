"""The strict reader: it reads what json reads, and refuses what two readers could understand differently."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.json_bounds import MAX_DEPTH
from adapters.luckymonaco_common.strict_json import Json, NotStrictJson, Number, read_object

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=4
)


def _numbers_as_json_reads_them(value: Json) -> Any:
    if isinstance(value, Number):
        return json.loads(value.literal)
    if isinstance(value, list):
        return [_numbers_as_json_reads_them(item) for item in value]
    if isinstance(value, dict):
        return {name: _numbers_as_json_reads_them(item) for name, item in value.items()}
    return value


@given(st.dictionaries(st.text(), _VALUES), st.booleans())
def test_reads_every_object(written: dict[str, Any], escaped: bool) -> None:
    """What a writer of JSON writes is read back as it was, whether or not it escapes."""
    body = json.dumps(written, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    try:
        body.decode()
    except UnicodeDecodeError:
        with pytest.raises(NotStrictJson):
            read_object(body)
    else:
        assert _numbers_as_json_reads_them(read_object(body)) == written


@given(st.binary(max_size=60) | st.text('{}[]",:\\ue0123456789.-+truefalsn \n', max_size=60).map(str.encode))
def test_anything_else_is_refused(body: bytes) -> None:
    """Arbitrary bytes are an object that json reads too, or are refused: nothing else ever happens."""
    try:
        read = read_object(body)
    except NotStrictJson:
        return
    assert _numbers_as_json_reads_them(read) == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"0",
        b'\xef\xbb\xbf\xef\xbb\xbf{"a":1}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":1}{}',
        b'{"a":1} x',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":1 "b":2}',
        b'{"a":"\n"}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        '{"a":\u0661}'.encode(),
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":[{"b":1,"b":2}]}',
        b'{"a":"unterminated',
    ],
)
def test_refuses(body: bytes) -> None:
    """What is not UTF-8, not one object, or could be read in two ways is refused."""
    with pytest.raises(NotStrictJson):
        read_object(body)


@pytest.mark.parametrize("literal", ["0", "-0", "10.0", "1.10", "1e400", "1E-2", "9" * 10_000, "0." + "1" * 10_000])
def test_a_number_stays_as_it_was_written(literal: str) -> None:
    """Digits are neither rounded nor converted, however many there are."""
    assert read_object(f'{{"a":{literal}}}'.encode()) == {"a": Number(literal)}


def test_depth_is_bounded_exactly() -> None:
    """MAX_DEPTH levels are read and one more is refused; brackets inside strings are not levels."""
    within = MAX_DEPTH - 1
    assert read_object(b'{"a":' + b"[" * within + b"]" * within + b"}")
    with pytest.raises(NotStrictJson, match="deeper than 32"):
        read_object(b'{"a":' + b"[" * (within + 1) + b"]" * (within + 1) + b"}")
    assert read_object(b'{"a":"' + b'[{\\"' * 100 + b'","b":' + b"[" * within + b"]" * within + b"}")
    assert read_object(b'{"a":[' + b"{}," * 100 + b"{}]}")


@pytest.mark.parametrize("pattern", [b"[", b'{"a":', b'"', b'\\"', b'{"', b"[]", b'["[",'])
def test_a_long_run_of_one_pattern_is_refused(pattern: bytes) -> None:
    """A body made to exhaust the stack or the clock is refused like any other."""
    body = pattern * (250_000 // len(pattern))
    for candidate in (body, b'{"a":' + body):
        with pytest.raises(NotStrictJson):
            read_object(candidate)


def test_the_refusal_quotes_nothing_of_the_body() -> None:
    """The reason names the position and quotes nothing of the body."""
    for body in (b'{"token":"s3cr3t" x', b'{"s3cr3t":1,"s3cr3t":2}', b"s3cr3t"):
        with pytest.raises(NotStrictJson) as refused:
            read_object(body)
        assert "s3cr3t" not in str(refused.value)
