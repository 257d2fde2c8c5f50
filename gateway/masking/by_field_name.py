"""Finds the values of secret names: JSON members at any depth, also in invalid JSON, and form fields.

Nothing is parsed, because the journal keeps bodies that no parser accepts too. A quoted name with a colon behind it is
a member. Its value ends where it ends in JSON, else at the end of the text. In JSON inside a JSON string, quotes have
as many backslashes before them as the quotes of the member's name.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from urllib.parse import unquote_to_bytes

from gateway.masking.ranges import MASK, Range

# No group is possessive: before Python 3.11.5 such a group matched wrongly if something in it backtracks.
_SPACE = rb"(?:\s|\\{1,8}[nrt])*"
_BACKSLASHES = rb"\\{1,8}"
_QUOTE = re.compile(rb'(\\*+)"')
_STRUCTURE = re.compile(rb'(\\*+)"|[\[\]{}]')
_LITERAL = re.compile(rb"""'[^'\r\n]*+'?|[^,}\]\r\n"\\]*+""")
_FIELD = re.compile(rb"(?:\A|(?<=[&?;\s]))([^&=?;\s]{1,256}+)=")
_FORM_VALUE = re.compile(rb"[^&\r\n]*+")
_URL_VALUE = re.compile(rb"""[^&\s"\\<>]*+""")
_LOOSE_VALUE = (
    # `token: x`, `'token' = 'x'`, `<token>x`, or a part of a multipart form, whose value follows an empty line.
    rb"""(?:["'\\]{0,4}\s{0,8}+[=:>]|"[^\r\n]{0,256}+(?:\r?\n[^\r\n]{1,256}+){0,4}\r?\n\r?\n)["'\\\s]{0,8}([^\s"'&<>,;}\]]+)"""
)
_JSON_STARTS = (b"{", b"[", b'"')


class SecretFieldMatcher:
    """Finds the values of secret names. Names match in any case and with any escapes.

    The patterns are long, so they are compiled when a text may hold one of the names.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(name.lower() for name in names if name)
        spellings = {spelling for name in self._names for spelling in (name, name.replace(" ", "+"))}
        self._plain_names = tuple(name.encode("utf-8", "surrogatepass") for name in sorted(spellings))

    @cached_property
    def _member(self) -> re.Pattern[bytes]:
        return re.compile(rb'(?<!\\)(\\*+)"(?:' + self._any_name() + rb')\1"' + _SPACE + b":" + _SPACE)

    @cached_property
    def _plain_member(self) -> re.Pattern[bytes]:
        """The same for plain ASCII, in a tenth of the time. Names that need escapes cannot occur there."""
        names = b"|".join(re.escape(name.encode("utf-8", "surrogatepass")) for name in sorted(self._names))
        return re.compile(rb'()"(?i:' + names + rb')"\s*:\s*')

    @cached_property
    def _loose(self) -> re.Pattern[bytes]:
        return re.compile(b"(?<![A-Za-z0-9_])(?:" + self._any_name() + b")" + _LOOSE_VALUE)

    def _any_name(self) -> bytes:
        return b"|".join(_name_pattern(name) for name in sorted(self._names))

    def is_secret(self, name: str) -> bool:
        """Whether this is one of the names."""
        return name.lower() in self._names

    def in_body(self, data: bytes) -> list[Range]:
        """Values in a body of JSON, or a form, whose values may hold any character but the separator."""
        if self.surely_absent(data):
            return []
        form = not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_JSON_STARTS)
        return [*self._members(data), *self._fields(data, _FORM_VALUE if form else _URL_VALUE)]

    def in_no_format(self, data: bytes) -> list[Range]:
        """Values in a body of unknown format, such as XML, a multipart form, or JSON in single quotes.

        May find too much: the word behind any secret name that is followed by `=`, `:` or `>`.
        """
        if not self._names or self.surely_absent(data):
            return []
        return [(*found.span(1), MASK) for found in self._loose.finditer(data)]

    def in_text(self, data: bytes) -> list[Range]:
        """Values in a text that may quote a message or a URL."""
        if self.surely_absent(data):
            return []
        return [*self._members(data), *self._fields(data, _URL_VALUE)]

    def surely_absent(self, data: bytes) -> bool:
        """A quick check: True if no name occurs in plain ASCII without escapes, where names have one form.

        False if it cannot decide.
        """
        if not _is_plain(data) or b"%" in data:
            return False
        lowered = data.lower()
        for name in self._plain_names:  # noqa: SIM110 - a generator takes several times as long, for each message
            if name in lowered:
                return False
        return True

    def _members(self, data: bytes) -> Iterator[Range]:
        if not self._names or b'"' not in data:
            return
        member_of = self._plain_member if _is_plain(data) else self._member
        at = 0
        while member := member_of.search(data, at):
            start, end, replacement = _value(data, member.end(), member[1])
            yield start, end, replacement
            at = max(end, member.end())

    def _fields(self, data: bytes, value: re.Pattern[bytes]) -> Iterator[Range]:
        if not self._names or b"=" not in data:
            return
        at = 0
        while field := _FIELD.search(data, at):
            at = field.end()
            name = unquote_to_bytes(field[1].replace(b"+", b" ")).decode("utf-8", "replace")
            if self.is_secret(name) and (found := value.match(data, at)) and found[0]:
                yield *found.span(), MASK
                at = found.end()  # values are not searched again: that would take quadratic time


def _is_plain(data: bytes) -> bool:
    """Whether there are neither JSON escapes nor characters of several bytes."""
    return data.isascii() and b"\\" not in data


def _name_pattern(name: str) -> bytes:
    return b"".join(_character_pattern(character) for character in name)


def _character_pattern(character: str) -> bytes:
    forms = []
    for form in sorted({character.lower(), character.upper()}):
        units = form.encode("utf-16-be", "surrogatepass").hex(" ", 2).encode().split()
        forms.append(re.escape(form.encode("utf-8", "surrogatepass")))
        forms.append(b"".join(_BACKSLASHES + b"u(?i:" + unit + b")" for unit in units))
    return b"(?:" + b"|".join(forms) + b")"


def _value(data: bytes, start: int, backslashes: bytes) -> Range:
    """The value that begins at `start`, in a text whose quotes follow these backslashes."""
    quote = backslashes + b'"'
    if data.startswith(quote, start):
        start += len(quote)
        end = _end_of_string(data, start, len(backslashes))
        return start, end, MASK if end > start else b""
    if data.startswith((b"{", b"["), start):
        return start, _end_of_container(data, start, len(backslashes)), quote + MASK + quote
    literal = _LITERAL.match(data, start)
    end = start + len(literal[0].rstrip()) if literal else start
    return start, end, quote + MASK + quote if end > start else b""


def _end_of_string(data: bytes, start: int, depth: int) -> int:
    """Where the closing quote of a string begins, backslashes included."""
    for quote in _QUOTE.finditer(data, start):
        own = _own_backslashes(quote[1], depth)
        if own <= depth:
            return quote.end(1) - own
    return len(data)


def _end_of_container(data: bytes, start: int, depth: int) -> int:
    """Where an array or an object ends, or the string around it."""
    opened, in_string = 0, False
    for mark in _STRUCTURE.finditer(data, start):
        if mark[1] is not None:
            own = _own_backslashes(mark[1], depth)
            if own < depth:
                return mark.end(1) - own
            in_string ^= own == depth
        elif not in_string:
            opened += 1 if mark[0] in b"{[" else -1
            if opened == 0:
                return mark.end()
    return len(data)


def _own_backslashes(run: bytes, depth: int) -> int:
    """How many of the backslashes before a quote escape it. Those before them are whole escaped backslashes."""
    return len(run) % (2 * (depth + 1))
