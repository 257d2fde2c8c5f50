"""A text as it reads once its encodings are looked through, and where each piece of it stands in the text itself."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator

_DEEPEST = 3
"""JSON within JSON within JSON; a URL within a URL within a URL."""

_JSON_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[\"\\/bfnrt])"
)
_PERCENT_ESCAPE = re.compile(rb"%[0-9a-fA-F]{2}")
_SHORT = {b'"': b'"', b"\\": b"\\", b"/": b"/", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class DecodedView:
    """A text, or what decoding one layer of another view's text makes of it."""

    __slots__ = ("_ends", "_parent", "_parent_ends", "_parent_starts", "_starts", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._parent: DecodedView | None = None
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._parent_starts: list[int] = []
        self._parent_ends: list[int] = []

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Where a piece of this view stands in the text itself. Of an escape it holds a part of, it holds all."""
        if self._parent is None:
            return start, end
        return self._parent.origin(self._before(start), self._after(end))

    def decoded(self, escape: re.Pattern[bytes], decode: Callable[[bytes], bytes]) -> "DecodedView | None":
        """This view with one layer of escapes decoded; None where it has none."""
        child = DecodedView(b"")
        child._parent = self
        pieces: list[bytes] = []
        at = length = 0
        for found in escape.finditer(self.data):
            start, end = found.span()
            meant = decode(found[0])
            pieces += (self.data[at:start], meant)
            length += start - at
            child._starts.append(length)
            length += len(meant)
            child._ends.append(length)
            child._parent_starts.append(start)
            child._parent_ends.append(end)
            at = end
        pieces.append(self.data[at:])
        child.data = b"".join(pieces)
        return child if child._starts else None

    def _before(self, position: int) -> int:
        last = bisect_right(self._starts, position) - 1
        if last < 0:
            return position
        if position < self._ends[last]:
            return self._parent_starts[last]
        return self._parent_ends[last] + position - self._ends[last]

    def _after(self, end: int) -> int:
        """The end of a piece that is not empty: what its last byte came from counts."""
        last = bisect_right(self._starts, end - 1) - 1
        if last < 0:
            return end
        return self._parent_ends[last] + max(0, end - self._ends[last])


def views(text: DecodedView) -> Iterator[DecodedView]:
    """The text itself, and all that looking through JSON strings and then through percent-encoding shows."""
    for view in _layers(text, b"\\", _JSON_ESCAPE, _json_meaning):
        yield from _layers(view, b"%", _PERCENT_ESCAPE, _percent_meaning)


def _layers(
    view: DecodedView, begins: bytes, escape: re.Pattern[bytes], decode: Callable[[bytes], bytes]
) -> Iterator[DecodedView]:
    yield view
    for _ in range(_DEEPEST):
        if begins not in view.data:
            return
        deeper = view.decoded(escape, decode)
        if deeper is None:
            return
        view = deeper
        yield view


def _json_meaning(escape: bytes) -> bytes:
    if not escape.startswith(b"\\u"):
        return _SHORT[escape[1:]]
    units = escape.replace(b"\\u", b"")
    return bytes.fromhex(units.decode()).decode("utf-16-be", "surrogatepass").encode("utf-8", "surrogatepass")


def _percent_meaning(escape: bytes) -> bytes:
    return bytes.fromhex(escape[1:].decode())
