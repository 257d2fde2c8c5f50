"""A strict parser of JSON objects: it refuses what two parsers could read differently.

Numbers stay text, so money is checked as it was written.
"""

import json
import re
from dataclasses import dataclass

from adapters.contract import exceeded_bound

SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Half a character, which JSON can escape and UTF-8 cannot write."""


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as it was written."""

    literal: str


Json = None | bool | str | Number | list["Json"] | dict[str, "Json"]


class NotStrictJson(Exception):
    """The bytes are not one unambiguous JSON object. The message quotes none of them."""


def read_object(body: bytes) -> dict[str, Json]:
    """The JSON object in `body`: UTF-8 without a byte order mark, no duplicate keys, no NaN, within the bounds."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotStrictJson(f"not UTF-8 at byte {error.start}") from None
    if exceeded := exceeded_bound(text):
        raise NotStrictJson(exceeded)
    try:
        value: Json = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotStrictJson(f"not JSON at character {error.pos}") from None
    if not isinstance(value, dict):
        raise NotStrictJson("JSON, but not an object")
    return value


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
