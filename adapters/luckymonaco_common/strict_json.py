"""A strict parser of JSON objects: it refuses what two parsers could read differently.

Numbers stay text, so money is checked as it was written.
"""

import json
import re
from dataclasses import dataclass

MAX_DEPTH = 32
"""The deepest nesting of objects and arrays. The family's deepest message, roundDetails as an object, is far below."""

SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Half a character, which JSON can escape and UTF-8 cannot write."""

# A string, or one bracket. An unterminated string runs to the end, so that nothing is scanned twice.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*"?|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as it was written."""

    literal: str


Json = None | bool | str | Number | list["Json"] | dict[str, "Json"]


class NotStrictJson(Exception):
    """The bytes are not one unambiguous JSON object. The message quotes none of them."""


def read_object(body: bytes) -> dict[str, Json]:
    """The JSON object in `body`: UTF-8 without a byte order mark, no duplicate keys, no NaN, at most MAX_DEPTH deep."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotStrictJson(f"not UTF-8 at byte {error.start}") from None
    _check_depth(text)
    try:
        value: Json = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotStrictJson(f"not JSON at character {error.pos}") from None
    if not isinstance(value, dict):
        raise NotStrictJson("JSON, but not an object")
    return value


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKEN.findall(text):
        if token in ("{", "["):
            depth += 1
            if depth > MAX_DEPTH:
                raise NotStrictJson(f"nested deeper than {MAX_DEPTH}")
        elif token in ("}", "]"):
            depth -= 1


def _unique(members: list[tuple[str, Json]]) -> dict[str, Json]:
    read = dict(members)
    if len(read) != len(members):
        raise NotStrictJson("a member occurs twice in one object")
    return read


def _no_constant(name: str) -> Json:
    raise NotStrictJson(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=Number, parse_float=Number, parse_constant=_no_constant
)
