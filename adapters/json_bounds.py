"""Bounds on a JSON text, checked before a value is made of it."""

import re

MAX_DEPTH = 32
"""The deepest nesting of objects and arrays. The deepest message of a known dialect is far below."""

MAX_VALUES = 2000
"""Values of one text, members and items together. The largest message of a known dialect has some dozens."""

_MAX_SEPARATORS = 20_000
"""Commas and opening brackets, also those inside strings: with more, a text is not scanned for its strings."""

# An unterminated string runs to the end, so that nothing is scanned twice.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def exceeded_bound(text: str) -> str:
    """The bound that a JSON text exceeds, for an error; '' where it is within all. The text may be malformed."""
    if _values(text) <= MAX_VALUES and text.count("[") + text.count("{") <= MAX_DEPTH:
        return ""
    if _values(text) > _MAX_SEPARATORS:
        return f"of more than {MAX_VALUES} values"
    structure = _STRING.sub("", text)
    if _values(structure) > MAX_VALUES:
        return f"of more than {MAX_VALUES} values"
    depth = 0
    for bracket in _BRACKET.findall(structure):
        depth += 1 if bracket in "{[" else -1
        if depth > MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH}"
    return ""


def _values(text: str) -> int:
    """An upper bound of the values: each but the first of its object or array follows a comma."""
    return text.count(",") + text.count("[") + text.count("{") + 1
