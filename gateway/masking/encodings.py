"""Decodes the layers of JSON and percent escapes in a text, and maps each position back to the original text."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from operator import itemgetter

_MAX_LAYERS = 3
"""JSON within JSON within JSON; a URL within a URL within a URL."""

_JSON_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[\"\\/bfnrt])"
)
_PERCENT_ESCAPE = re.compile(rb"%[0-9a-fA-F]{2}")
_SHORT_ESCAPES = {b'"': b'"', b"\\": b"\\", b"/": b"/", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_START = itemgetter(0)


class DecodedView:
    """A text, or another view's text with one layer of escapes decoded."""

    __slots__ = ("_escapes", "_parent", "data")

    def __init__(self, data: bytes, parent: "DecodedView | None" = None) -> None:
        self.data = data
        self._parent = parent
        self._escapes: list[tuple[int, int, int, int]] = []
        """Of each decoded escape the start and end here, and those in the parent."""

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The range of the original text that this range was decoded from. An escape is included whole."""
        if self._parent is None:
            return start, end
        return self._parent.origin(self._before(start), self._after(end))

    def decoded(self, escape: re.Pattern[bytes], decode: Callable[[bytes], bytes]) -> "DecodedView | None":
        """This view with one layer of escapes decoded; None if it has none."""
        child = DecodedView(b"", self)
        pieces: list[bytes] = []
        at = length = 0
        for found in escape.finditer(self.data):
            start, end = found.span()
            decoded = decode(found[0])
            pieces += (self.data[at:start], decoded)
            length += start - at
            child._escapes.append((length, length + len(decoded), start, end))
            length += len(decoded)
            at = end
        pieces.append(self.data[at:])
        child.data = b"".join(pieces)
        return child if child._escapes else None

    def _before(self, position: int) -> int:
        last = bisect_right(self._escapes, position, key=_START) - 1
        if last < 0:
            return position
        _, end, parent_start, parent_end = self._escapes[last]
        return parent_start if position < end else parent_end + position - end

    def _after(self, position: int) -> int:
        """Maps the end of a range that is not empty: the last byte decides."""
        last = bisect_right(self._escapes, position - 1, key=_START) - 1
        if last < 0:
            return position
        _, end, _, parent_end = self._escapes[last]
        return parent_end + max(0, position - end)


def views(text: DecodedView) -> Iterator[DecodedView]:
    """The text itself, and each text that decoding layers of JSON and percent escapes gives, in any order."""
    seen: set[bytes] = set()
    waiting = [(text, 0, 0)]
    while waiting:
        view, json_layers, percent_layers = waiting.pop()
        if view.data in seen:  # by another order
            continue
        seen.add(view.data)
        yield view
        if json_layers < _MAX_LAYERS and b"\\" in view.data:
            child = view.decoded(_JSON_ESCAPE, _decode_json_escape)
            waiting += [(child, json_layers + 1, percent_layers)] if child else []
        if percent_layers < _MAX_LAYERS and b"%" in view.data:
            child = view.decoded(_PERCENT_ESCAPE, _decode_percent_escape)
            waiting += [(child, json_layers, percent_layers + 1)] if child else []


def _decode_json_escape(escape: bytes) -> bytes:
    if not escape.startswith(b"\\u"):
        return _SHORT_ESCAPES[escape[1:]]
    units = escape.replace(b"\\u", b"")
    return bytes.fromhex(units.decode()).decode("utf-16-be", "surrogatepass").encode("utf-8", "surrogatepass")


def _decode_percent_escape(escape: bytes) -> bytes:
    return bytes.fromhex(escape[1:].decode())
