"""Parses the names in a PromQL expression: its metrics, its label matchers, and the labels it groups by."""

import re
from dataclasses import dataclass

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}")
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*(?:,|$)')
_RANGE = re.compile(r"\[[^\]]*\]")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "Inf", "NaN"})


@dataclass(frozen=True)
class Matcher:
    """One label matcher of a metric."""

    metric: str
    label: str
    operator: str
    value: str


@dataclass(frozen=True)
class Names:
    """The names in one expression."""

    metrics: frozenset[str]
    matchers: tuple[Matcher, ...]
    groups: frozenset[str]


def parse(expression: str) -> Names:
    """Return the names in an expression. Raises ValueError for a selector that it cannot parse."""
    groups = frozenset(label.strip() for found in _GROUPING.findall(expression) for label in found.split(","))
    matchers: list[Matcher] = []
    for metric, conditions in _SELECTOR.findall(expression):
        found = _MATCHER.findall(conditions)
        if _MATCHER.sub("", conditions).strip():
            raise ValueError(f"cannot parse the matchers {conditions!r}")
        matchers += (Matcher(metric, *each) for each in found)
    bare = _RANGE.sub("", _SELECTOR.sub(r"\1 ", _GROUPING.sub(" ", expression)))
    metrics = frozenset(
        found[0]
        for found in _NAME.finditer(bare)
        if found[0] not in _WORDS and not bare[found.end() :].lstrip().startswith("(") and not _in_a_number(bare, found)
    )
    return Names(metrics, tuple(matchers), groups)


def _in_a_number(bare: str, found: re.Match[str]) -> bool:
    """Whether it is part of a number such as 1e9."""
    return found.start() > 0 and bare[found.start() - 1].isdigit()
