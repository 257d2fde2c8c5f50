"""Figures of a stress test, each with what is required of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a stress test. A figure without a requirement always holds."""

    name: str
    required: str
    seen: str
    holds: bool = True
    timing: bool = False
    """Whether it depends on the machine's speed: then it means something on an idle machine alone."""


Figures = tuple[Figure, ...]


def stated(name: str, seen: object) -> Figure:
    """Worth knowing; nothing is required of it."""
    return Figure(name, "", str(seen))


def exactly(name: str, required: object, seen: object) -> Figure:
    return Figure(name, str(required), str(seen), required == seen)


def none_of(name: str, seen: Iterable[object]) -> Figure:
    """There must be none; the first few are shown where there are some."""
    found = list(seen)
    shown = f"{len(found)}: {', '.join(map(str, islice(found, 3)))}" if found else "0"
    return Figure(name, "0", shown, not found)


def at_least(name: str, required: float, seen: float, unit: str = "") -> Figure:
    return Figure(name, f"at least {_number(required)}{unit}", f"{_number(seen)}{unit}", seen >= required)


def at_most(name: str, required: float, seen: float, unit: str = "") -> Figure:
    return Figure(name, f"at most {_number(required)}{unit}", f"{_number(seen)}{unit}", seen <= required)


def timed(figure: Figure) -> Figure:
    """A figure that depends on the machine's speed."""
    return replace(figure, timing=True)


def failures(figures: Iterable[Figure]) -> list[Figure]:
    """The figures that do not hold, whatever else the machine does."""
    return [figure for figure in shortfalls(figures) if not figure.timing]


def shortfalls(figures: Iterable[Figure]) -> list[Figure]:
    """The figures that do not hold."""
    return [figure for figure in figures if not figure.holds]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"
