"""The places of a message where a value stands: a header, a query parameter, a field of a form, a member of JSON.

Each can be left out, given twice or spelt otherwise, and the rest of the message stays as it is; so the suite finds by
itself where an amount or a reference travels in a dialect that it has never seen.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

from adapters.conformance.wire import Body, Form, JsonObject, Literal, parsed, written
from adapters.contract import HttpReply, HttpRequest

MessageT = TypeVar("MessageT", HttpRequest, HttpReply)


@dataclass(frozen=True, slots=True)
class Place(Generic[MessageT]):
    """Where a value stands in a message. Its path begins with `header`, `query`, `form` or `json`."""

    path: tuple[str, ...]
    value: Any
    put: Callable[..., MessageT]
    """The message with these values there instead: with none it is left out, with two it stands there twice."""

    @property
    def name(self) -> str:
        """The name of the header, parameter or member."""
        return self.path[-1]

    @property
    def text(self) -> str | None:
        """The value as it is spelt; None where it is an object, a list or null."""
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
        return Literal(altered(self.text)) if isinstance(self.value, Literal) else altered(self.text)

    def spelling(self, text: str) -> MessageT:
        """The message with a value of the same type there, spelt so."""
        return self.put(Literal(text) if isinstance(self.value, Literal) else text)


def places(message: MessageT) -> Iterator[Place[MessageT]]:
    """Every place that has a name, at any depth. In a body of a form that the suite cannot take apart there is none."""
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
        case Form(pairs) | JsonObject(pairs):
            for index, (name, member) in enumerate(pairs):
                put = partial(_with_member, build, value, index)
                yield Place((*path, name), member, put)
                yield from _inside(member, (*path, name), put)
        case list():
            for index, item in enumerate(value):
                yield from _inside(item, (*path, str(index)), partial(_with_item, build, value, index))


def _with_header(message: MessageT, index: int, *values: str) -> MessageT:
    return replace(message, headers=_spliced(message.headers, index, values))


def _with_parameter(message: HttpRequest, index: int, *values: str) -> HttpRequest:
    return replace(message, query=_spliced(message.query, index, values))


def _with_member(build: Callable[[Body], MessageT], value: Form | JsonObject, index: int, *values: Any) -> MessageT:
    if isinstance(value, Form):
        return build(Form(_spliced(value.fields, index, values)))
    return build(JsonObject(_spliced(value.members, index, values)))


def _with_item(build: Callable[[Body], MessageT], items: list[Any], index: int, item: Any) -> MessageT:
    return build([*items[:index], item, *items[index + 1 :]])


def _spliced(pairs: tuple[tuple[str, Any], ...], index: int, values: tuple[Any, ...]) -> tuple[tuple[str, Any], ...]:
    name, _ = pairs[index]
    return (*pairs[:index], *((name, value) for value in values), *pairs[index + 1 :])


def speaking(message: MessageT) -> Iterator[Place[MessageT]]:
    """Every place with a text, without the headers about the body itself, which say nothing more than it does."""
    for place in places(message):
        if place.text is not None and not (place.path[0] == "header" and place.name.lower().startswith("content-")):
            yield place


def statements(message: MessageT) -> dict[tuple[str, ...], str]:
    """What a message says: the text at every place that says something."""
    return {place.path: place.text for place in speaking(message) if place.text is not None}


_KINDS = ("0123456789", "abcdef", "ghijklmnopqrstuvwxyz", "ABCDEF", "GHIJKLMNOPQRSTUVWXYZ")


def altered(text: str) -> str:
    """Another text of the same form: its last ASCII letter or digit is another one of its kind."""
    for index in reversed(range(len(text))):
        for kind in _KINDS:
            if text[index] in kind:
                another = kind[(kind.index(text[index]) + 1) % len(kind)]
                return f"{text[:index]}{another}{text[index + 1 :]}"
    return f"{text}7"
