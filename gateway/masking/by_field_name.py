"""Where the values of secret names stand: JSON members at any depth, also in JSON that is broken, and form fields.

Nothing is parsed: a body that no parser takes is kept in the journal too, and a secret in it is no less secret. A
name between quotes with a colon behind it is a member, wherever it is found; its value reaches as far as it does in
JSON, and to the end where it does not end. JSON inside a JSON string is understood by its backslashes: there a quote
has as many before it as the quotes of the member's name have.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from urllib.parse import unquote_to_bytes

from gateway.masking.ranges import MASK, Range

# No group in here is possessive: before Python 3.11.5 such a group matched wrongly where something in it backtracks.
_SPACE = rb"(?:\s|\\{1,8}[nrt])*"
_BACKSLASHES = rb"\\{1,8}"
_QUOTE = re.compile(rb'(\\*+)"')
_STRUCTURE = re.compile(rb'(\\*+)"|[\[\]{}]')
_LITERAL = re.compile(rb"""'[^'\r\n]*+'?|[^,}\]\r\n"\\]*+""")
_FIELD = re.compile(rb"(?:\A|(?<=[&?;\s]))([^&=?;\s]{1,256}+)=")
_FORM_VALUE = re.compile(rb"[^&\r\n]*+")
_URL_VALUE = re.compile(rb"""[^&\s"\\<>]*+""")
_LOOSE_VALUE = (
    # `token: x`, `'token' = 'x'`, `<token>x`, or a part of a multipart form, whose value stands behind an empty line.
    rb"""(?:["'\\]{0,4}\s{0,8}+[=:>]|"[^\r\n]{0,256}+(?:\r?\n[^\r\n]{1,256}+){0,4}\r?\n\r?\n)["'\\\s]{0,8}([^\s"'&<>,;}\]]+)"""
)
_JSON_BEGINS = (b"{", b"[", b'"')


class SecretFieldMatcher:
    """Finds what stands under secret names, their letters in any case and however escaped.

    The patterns are long, and compiled where a text may hold one of the names: many a start never needs them.
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
        """The same for plain ASCII, in a tenth of the time. Names that need escapes do not stand there."""
        names = b"|".join(re.escape(name.encode("utf-8", "surrogatepass")) for name in sorted(self._names))
        return re.compile(rb'()"(?i:' + names + rb')"\s*:\s*')

    @cached_property
    def _loose(self) -> re.Pattern[bytes]:
        return re.compile(b"(?<![A-Za-z0-9_])(?:" + self._any_name() + b")" + _LOOSE_VALUE)

    def _any_name(self) -> bytes:
        return b"|".join(_spelled(name) for name in sorted(self._names))

    def is_secret(self, name: str) -> bool:
        """Whether this is one of the names."""
        return name.lower() in self._names

    def in_body(self, data: bytes) -> list[Range]:
        """Values in a body: JSON, or a form, whose values may hold any character but the one that separates."""
        if self.surely_absent(data):
            return []
        form = not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_JSON_BEGINS)
        return [*self._members(data), *self._fields(data, _FORM_VALUE if form else _URL_VALUE)]

    def in_no_format(self, data: bytes) -> list[Range]:
        """Values in a body of no format that we know, such as XML, a multipart form, or JSON in single quotes.

        Masks rather too much: a name of ours, with `=`, `:` or `>` behind it, ends where the next word does.
        """
        if not self._names or self.surely_absent(data):
            return []
        return [(*found.span(1), MASK) for found in self._loose.finditer(data)]

    def in_text(self, data: bytes) -> list[Range]:
        """Values in words that may quote a message or a URL."""
        if self.surely_absent(data):
            return []
        return [*self._members(data), *self._fields(data, _URL_VALUE)]

    def surely_absent(self, data: bytes) -> bool:
        """Whether no name stands there: told at once of plain ASCII without escapes, in which names have one form.

        False where it cannot be told at once.
        """
        if not _is_plain(data) or b"%" in data:
            return False
        lowered = data.lower()
        for name in self._plain_names:  # noqa: SIM110 - a generator costs several times as much, for each message
            if name in lowered:
                return False
        return True

    def _members(self, data: bytes) -> Iterator[Range]:
        if not self._names or b'"' not in data:
            return
        member_of = self._plain_member if _is_plain(data) else self._member
        at = 0
        while member := member_of.search(data, at):
            start, end, instead = _value(data, member.end(), member[1])
            yield start, end, instead
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
                at = found.end()  # what stands in a value is not read again, or many would cost their square


def _is_plain(data: bytes) -> bool:
    """Whether JSON's escapes and characters of several bytes have no part in it."""
    return data.isascii() and b"\\" not in data


def _spelled(name: str) -> bytes:
    return b"".join(_character(character) for character in name)


def _character(character: str) -> bytes:
    forms = []
    for form in sorted({character.lower(), character.upper()}):
        units = form.encode("utf-16-be", "surrogatepass").hex(" ", 2).encode().split()
        forms.append(re.escape(form.encode("utf-8", "surrogatepass")))
        forms.append(b"".join(_BACKSLASHES + b"u(?i:" + unit + b")" for unit in units))
    return b"(?:" + b"|".join(forms) + b")"


def _value(data: bytes, start: int, backslashes: bytes) -> Range:
    """The value that begins at `start`, in a text whose quotes have so many backslashes."""
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
    """Where the closing quote of a string begins, its backslashes included."""
    for quote in _QUOTE.finditer(data, start):
        own = _own_backslashes(quote[1], depth)
        if own <= depth:
            return quote.end(1) - own
    return len(data)


def _end_of_container(data: bytes, start: int, depth: int) -> int:
    """Where an array or an object ends, or the string that it stands in."""
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
    """Of the backslashes before a quote, those that belong to it: before them stand whole escaped backslashes."""
    return len(run) % (2 * (depth + 1))
