"""Parses bodies, JSON or a form, and builds them again without loss.

Numbers keep their literals, and objects keep their order and duplicates. So two texts can be compared by value, and one
member can be removed, masked or replaced without another change.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from adapters.contract import HttpRequest, SensitiveFields


@dataclass(frozen=True, slots=True)
class JsonObject:
    """An object's members in order, duplicates kept."""

    members: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Literal:
    """A number as it is written; or any text in place of a value."""

    text: str


@dataclass(frozen=True, slots=True)
class Form:
    """A form's fields in order, duplicates kept."""

    fields: tuple[tuple[str, str], ...]


Body = Any
"""A JSON value made of JsonObject, list, str, Literal, bool and None; or a Form."""


def parsed(body: bytes) -> Body | None:
    """The parsed body, JSON or a form; None where it is neither, or empty."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    try:
        return json.loads(
            text,
            object_pairs_hook=lambda pairs: JsonObject(tuple(pairs)),
            parse_int=Literal,
            parse_float=Literal,
            parse_constant=Literal,
        )
    except (ValueError, RecursionError):
        pass
    try:
        fields = tuple(parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict"))
    except ValueError:
        return None
    return Form(fields) if fields else None


def written(body: Body) -> bytes:
    """The bytes of a body."""
    return urlencode(body.fields).encode() if isinstance(body, Form) else _json(body).encode()


def _json(value: Any) -> str:
    match value:
        case JsonObject(members):
            return "{" + ",".join(f"{json.dumps(name)}:{_json(member)}" for name, member in members) + "}"
        case list():
            return "[" + ",".join(map(_json, value)) + "]"
        case Literal(text):
            return text
        case _:
            return json.dumps(value)


def same_value(one: bytes, other: bytes) -> bool:
    """Whether two JSON texts are one value, key order and number literals included; for other bodies, whether equal."""
    value = parsed(one)
    return one == other if value is None or isinstance(value, Form) else value == parsed(other)


# --- One parameter of a request ---------------------------------------------------------------------------------------


def names_of(request: HttpRequest) -> frozenset[str]:
    """The names of a request's headers, query parameters and body members at any depth, in lower case."""
    inside = _names(parsed(request.body))
    return frozenset(name.lower() for name in (*dict(request.headers), *dict(request.query), *inside))


def _names(value: Body) -> Iterator[str]:
    match value:
        case Form(fields):
            yield from (name for name, _ in fields)
        case JsonObject(members):
            for name, member in members:
                yield name
                yield from _names(member)
        case list():
            for item in value:
                yield from _names(item)


def without(request: HttpRequest, name: str) -> HttpRequest:
    """The request without the parameter of this name, in any case."""

    def left(found: str, value: Any) -> tuple[Any, ...]:
        return () if found.lower() == name.lower() else (value,)

    return replace(_mapped(request, left), headers=_pairs(request.headers, left))


def masked(request: HttpRequest, declared: SensitiveFields) -> HttpRequest:
    """The request as the journal keeps it: without what the adapter declares. The path is not changed."""

    def hide(names: frozenset[str]) -> Change:
        hidden = {name.lower() for name in names}
        return lambda found, value: ("***",) if found.lower() in hidden else (value,)

    return replace(_mapped(request, hide(declared.fields)), headers=_pairs(request.headers, hide(declared.headers)))


Change = Callable[[str, Any], tuple[Any, ...]]
"""From a name and its value to the values instead: one or none."""


def _pairs(pairs: tuple[tuple[str, Any], ...], change: Change) -> tuple[tuple[str, Any], ...]:
    return tuple((name, changed) for name, value in pairs for changed in change(name, value))


def _mapped(request: HttpRequest, change: Change) -> HttpRequest:
    """The request with every query parameter and every body member changed."""

    def inside(value: Body) -> Body:
        match value:
            case Form(fields):
                return Form(_pairs(fields, change))
            case JsonObject(members):
                return JsonObject(tuple((name, inside(member)) for name, member in _pairs(members, change)))
            case list():
                return [inside(item) for item in value]
            case _:
                return value

    value = parsed(request.body)
    body = request.body if value is None else written(inside(value))
    return replace(request, query=_pairs(request.query, change), body=body)


# --- Malformed bodies -------------------------------------------------------------------------------------------------

NESTED = "[" * 20_000
"""Deeper than any parser's stack."""

GARBAGE: tuple[bytes, ...] = (
    b"", b" ", b"{}", b"[]", b"null", b"true", b"0", b'"Success"', b"{", b'{"":""}', b"\xff\xfe\x00",
    b"\xef\xbb\xbf{}", b"<html><body>Success</body></html>", b"OK", b"=&=", b"%FF=%FF", NESTED.encode(),
    b'{"a":' * 20_000, b"NaN", b"9" * 6_000,
)  # fmt: skip
"""Bodies that are no message of any dialect."""

_UNUSUAL_JSON = (
    "null", "true", "{}", "[]", '""', '" "', '"\\u0000"', '"\\ud800"', '"\\u0661"', '"é\U0001f3b0"', '"1_0"', '" 5 "',
    '"NaN"', "NaN", "-0", "-1", "1e400", "1e-400", '"1e300000"', "1E5", "0.1234567890123456789", "9" * 6_000,
    '"' + "9" * 300 + '"', '"' + "x" * 5_000 + '"', NESTED,
)  # fmt: skip
_UNUSUAL_TEXT = (
    "", " ", "\x00", "é\U0001f3b0", "٣", "1_0", " 5 ", "NaN", "Infinity", "-0", "-1", "1e400", "1e300000",
    "0.1234567890123456789", "9" * 300, "x" * 5_000,
)  # fmt: skip


def malformed_variants(bodies: Iterable[bytes]) -> Iterator[bytes]:
    """Garbage, and variants of these bodies: the fewest of them that together have every member.

    Each value is replaced by unusual ones, each member left out, given twice or misnamed.
    """
    yield from GARBAGE
    covered: set[str] = set()
    for names, body in sorted(((set(_names(parsed(body))), body) for body in bodies), key=lambda one: -len(one[0])):
        if not names <= covered:
            covered |= names
            yield from _variants_of(body)


def _variants_of(body: bytes) -> Iterator[bytes]:
    value = parsed(body)
    yield from _with_values(value, _UNUSUAL_TEXT if isinstance(value, Form) else _UNUSUAL_JSON)
    yield from _with_broken_members(value)


def echoing(body: bytes, text: str) -> Iterator[bytes]:
    """The text alone, and the body with each of its values replaced by it."""
    value = parsed(body)
    yield text.encode()
    yield from _with_values(value, (text if isinstance(value, Form) else json.dumps(text),))


def _with_values(value: Body | None, texts: tuple[str, ...]) -> Iterator[bytes]:
    if isinstance(value, Form):
        for index, (name, _) in enumerate(value.fields):
            for text in texts:
                yield written(Form((*value.fields[:index], (name, text), *value.fields[index + 1 :])))
    elif value is not None:
        yield from (changed.encode() for changed in _json_with_values(value, texts))


def _json_with_values(value: Any, texts: tuple[str, ...]) -> Iterator[str]:
    yield from texts
    match value:
        case JsonObject(members):
            for index, (name, member) in enumerate(members):
                for text in _json_with_values(member, texts):
                    yield _json(JsonObject((*members[:index], (name, Literal(text)), *members[index + 1 :])))
        case list():
            for index, item in enumerate(value):
                for text in _json_with_values(item, texts):
                    yield _json([*value[:index], Literal(text), *value[index + 1 :]])


def _with_broken_members(value: Body | None) -> Iterator[bytes]:
    """Each member at the top left out, given twice, given twice with another value, and misnamed."""
    if not isinstance(value, Form | JsonObject):
        return
    members = value.fields if isinstance(value, Form) else value.members
    for index, (name, member) in enumerate(members):
        for changed in ((), ((name, member), (name, member)), ((name, member), (name, "")), ((name + "é", member),)):
            broken = (*members[:index], *changed, *members[index + 1 :])
            yield written(Form(broken) if isinstance(value, Form) else JsonObject(broken))
