"""A strict parser of JSON objects: it refuses what two parsers could read differently.

Numbers stay text, so money is checked as it was written.
"""

import json
import re
from dataclasses import dataclass
from urllib.parse import unquote_plus

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
    """The JSON object in `body`: UTF-8 (a byte order mark is skipped), no duplicate keys, no NaN, in the bounds."""
    try:
        text = body.decode("utf-8-sig")
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


def find_text(body: bytes, name: str) -> str:
    """The first value of a member in a body that is no JSON object, such as one that is cut off; '' where none is seen.

    For people who look for a message, never for money: a form, single quotes and UTF-16 are read too.
    """
    text = body.decode("utf-16" if body.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig", "replace")
    found = re.search(_VALUE.replace("NAME", re.escape(name)), text)
    if found is None:
        return ""
    quoted, plain = found["double"] or found["single"], found["plain"] or found["number"] or ""
    if quoted is None:
        return unquote_plus(plain, errors="replace")
    try:
        return str(json.loads(f'"{quoted}"')) if found["double"] else quoted
    except json.JSONDecodeError:
        return quoted


_VALUE = (
    r"""["']NAME["']\s*+:\s*+(?:"(?P<double>(?:[^"\\]|\\.){1,300})|'(?P<single>[^']{1,300})|(?P<number>-?[0-9][-+.0-9eE]{0,300}))"""
    r"""|(?:^|&)NAME=(?P<plain>[^&\s]{1,900})"""
)


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
