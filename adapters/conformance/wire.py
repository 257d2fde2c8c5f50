"""Parses bodies, JSON or a form, and builds them again without loss.

Numbers keep their literals, and objects keep their order and duplicates. So two texts can be compared by value, and one
member can be removed, masked or replaced without another change.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from adapters.contract import HttpRequest, SensitiveFields

Pair = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Names and values in order, duplicates kept."""

    pairs: tuple[Pair, ...]


class JsonObject(Pairs):
    """A JSON object."""

    __slots__ = ()


class Form(Pairs):
    """A form; its values are str."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Literal:
    """A number as it is written; or any text in place of a value."""

    text: str


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


def is_json(body: bytes) -> bool:
    """Whether it is a JSON object or array."""
    return isinstance(parsed(body), JsonObject | list)


def written(body: Body) -> bytes:
    """The bytes of a body."""
    return urlencode(body.pairs).encode() if isinstance(body, Form) else _json(body).encode()


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
        case Pairs(pairs):
            for name, member in pairs:
                yield name
                yield from _names(member)
        case list():
            for item in value:
                yield from _names(item)


def without(request: HttpRequest, name: str) -> HttpRequest:
    """The request without the parameter of this name, in any case."""
    names = frozenset({name})
    return _substituted(request, names, names)


def masked(request: HttpRequest, declared: SensitiveFields) -> HttpRequest:
    """The request as the journal keeps it: what the adapter declares is masked. The path is not changed."""
    return _substituted(request, declared.headers, declared.fields, "***")


def _substituted(request: HttpRequest, headers: frozenset[str], fields: frozenset[str], *values: str) -> HttpRequest:
    """The request with these values, or none, for these headers and for these query parameters and body members."""

    def changed(pairs: tuple[Pair, ...], names: frozenset[str]) -> tuple[Pair, ...]:
        lower = {name.lower() for name in names}
        return tuple((name, kept) for name, value in pairs for kept in (values if name.lower() in lower else (value,)))

    def inside(value: Body) -> Body:
        match value:
            case Pairs(pairs):
                return replace(value, pairs=tuple((name, inside(member)) for name, member in changed(pairs, fields)))
            case list():
                return [inside(item) for item in value]
            case _:
                return value

    value = parsed(request.body)
    return replace(
        request,
        query=changed(request.query, fields),
        headers=changed(request.headers, headers),
        body=request.body if value is None else written(inside(value)),
    )


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
            value = parsed(body)
            yield from _with_values(value, _UNUSUAL_TEXT if isinstance(value, Form) else _UNUSUAL_JSON)
            yield from _with_broken_members(value)


def echoing(body: bytes, text: str) -> Iterator[bytes]:
    """The text alone, and the body with each of its values replaced by it."""
    value = parsed(body)
    yield text.encode()
    yield from _with_values(value, (text if isinstance(value, Form) else json.dumps(text),))


def _with_values(value: Body | None, texts: tuple[str, ...]) -> Iterator[bytes]:
    """The body with each of its values replaced by each of these texts, which are JSON where the body is."""
    if isinstance(value, Form):
        for index, (name, _) in enumerate(value.pairs):
            yield from (written(_with_pairs(value, index, (name, text))) for text in texts)
    elif value is not None:
        yield from map(written, _json_with_values(value, tuple(map(Literal, texts))))


def _json_with_values(value: Body, literals: tuple[Literal, ...]) -> Iterator[Body]:
    yield from literals
    match value:
        case JsonObject(members):
            for index, (name, member) in enumerate(members):
                for changed in _json_with_values(member, literals):
                    yield _with_pairs(value, index, (name, changed))
        case list():
            for index, item in enumerate(value):
                for changed in _json_with_values(item, literals):
                    yield [*value[:index], changed, *value[index + 1 :]]


def _with_broken_members(value: Body | None) -> Iterator[bytes]:
    """Each member at the top left out, given twice, given twice with another value, and misnamed."""
    if isinstance(value, Pairs):
        for index, (name, member) in enumerate(value.pairs):
            pair = (name, member)
            for pairs in ((), (pair, pair), (pair, (name, "")), ((name + "é", member),)):
                yield written(_with_pairs(value, index, *pairs))


def _with_pairs(value: Pairs, index: int, *pairs: Pair) -> Pairs:
    return replace(value, pairs=spliced(value.pairs, index, *pairs))


def spliced(pairs: tuple[Pair, ...], index: int, *others: Pair) -> tuple[Pair, ...]:
    """The pairs with others in place of the one at the index."""
    return (*pairs[:index], *others, *pairs[index + 1 :])
