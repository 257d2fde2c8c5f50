"""The places of a message that hold a value: a header, a query parameter, a field of a form, a member of JSON.

A value can be left out, given twice or replaced, without a change to the rest of the message. So the suite finds where
a dialect that it does not know carries an amount or a reference.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

from adapters.conformance.wire import Body, Form, Literal, Pair, Pairs, parsed, spliced, written
from adapters.contract import HttpReply, HttpRequest

MessageT = TypeVar("MessageT", HttpRequest, HttpReply)


@dataclass(frozen=True, slots=True)
class Place(Generic[MessageT]):
    """One value in a message. Its path begins with `header`, `query`, `form` or `json`."""

    path: tuple[str, ...]
    value: Any
    put: Callable[..., MessageT]
    """The message with these values instead: with none the value is left out, with two it is there twice."""

    @property
    def name(self) -> str:
        """The name of the header, parameter or member."""
        return self.path[-1]

    @property
    def text(self) -> str | None:
        """The value as text; None where it is an object, a list or null."""
        match self.value:
            case str() | Literal(str()) as value:
                return value if isinstance(value, str) else value.text
            case bool():
                return json.dumps(self.value)
        return None

    @property
    def another(self) -> Any:
        """Another value of the same type and form; None where there is none."""
        if isinstance(self.value, bool):
            return not self.value
        if self.text is None:
            return None
        return Literal(alter_text(self.text)) if isinstance(self.value, Literal) else alter_text(self.text)

    def spelling(self, text: str) -> MessageT:
        """The message with a value of the same type there, with this text."""
        return self.put(Literal(text) if isinstance(self.value, Literal) else text)


def places(message: MessageT) -> Iterator[Place[MessageT]]:
    """Every place that has a name, at any depth; none in a body of a form that the suite cannot parse."""
    for index, (name, value) in enumerate(message.headers):
        yield Place(("header", name), value, partial(_with_header, message, index))
    if isinstance(message, HttpRequest):
        for index, (name, value) in enumerate(message.query):
            yield Place(("query", name), value, partial(_with_parameter, message, index))
    body = parsed(message.body)
    kind = "form" if isinstance(body, Form) else "json"
    yield from _inside(body, (kind,), lambda changed: replace(message, body=written(changed)))


def _inside(value: Body, path: tuple[str, ...], build: Callable[[Body], MessageT]) -> Iterator[Place[MessageT]]:
    match value:
        case Pairs(pairs):
            for index, (name, member) in enumerate(pairs):
                put = partial(_with_member, build, value, index)
                yield Place((*path, name), member, put)
                yield from _inside(member, (*path, name), put)
        case list():
            for index, item in enumerate(value):
                yield from _inside(item, (*path, str(index)), partial(_with_item, build, value, index))


def _with_header(message: MessageT, index: int, *values: str) -> MessageT:
    return replace(message, headers=_with_values(message.headers, index, values))


def _with_parameter(message: HttpRequest, index: int, *values: str) -> HttpRequest:
    return replace(message, query=_with_values(message.query, index, values))


def _with_member(build: Callable[[Body], MessageT], value: Pairs, index: int, *values: Any) -> MessageT:
    return build(replace(value, pairs=_with_values(value.pairs, index, values)))


def _with_item(build: Callable[[Body], MessageT], items: list[Any], index: int, item: Any) -> MessageT:
    return build([*items[:index], item, *items[index + 1 :]])


def _with_values(pairs: tuple[Pair, ...], index: int, values: tuple[Any, ...]) -> tuple[Pair, ...]:
    name, _ = pairs[index]
    return spliced(pairs, index, *((name, value) for value in values))


def text_places(message: MessageT) -> Iterator[Place[MessageT]]:
    """Every place with a text, without the headers that describe the body."""
    for place in places(message):
        if place.text is not None and not (place.path[0] == "header" and place.name.lower().startswith("content-")):
            yield place


def texts_by_path(message: MessageT) -> dict[tuple[str, ...], str]:
    """The text of every place that `text_places` finds, by path."""
    return {place.path: place.text for place in text_places(message) if place.text is not None}


_KINDS = ("0123456789", "abcdef", "ghijklmnopqrstuvwxyz", "ABCDEF", "GHIJKLMNOPQRSTUVWXYZ")


def alter_text(text: str) -> str:
    """Another text of the same form: its last ASCII letter or digit is replaced by one of the same kind."""
    for index in reversed(range(len(text))):
        for kind in _KINDS:
            if text[index] in kind:
                another = kind[(kind.index(text[index]) + 1) % len(kind)]
                return f"{text[:index]}{another}{text[index + 1 :]}"
    return f"{text}7"
