"""What a proof saw, beside what is demanded of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a proof. A figure that nothing is demanded of holds always."""

    name: str
    demanded: str
    seen: str
    holds: bool = True


Figures = tuple[Figure, ...]


def stated(name: str, seen: object) -> Figure:
    """Worth knowing; nothing is demanded of it."""
    return Figure(name, "", str(seen))


def exactly(name: str, demanded: object, seen: object) -> Figure:
    return Figure(name, str(demanded), str(seen), demanded == seen)


def none_of(name: str, seen: Iterable[object]) -> Figure:
    """There must be none; the first few are shown where there are some."""
    found = list(seen)
    shown = f"{len(found)}: {', '.join(map(str, islice(found, 3)))}" if found else "0"
    return Figure(name, "0", shown, not found)


def at_least(name: str, demanded: float, seen: float, unit: str = "") -> Figure:
    return Figure(name, f"at least {_number(demanded)}{unit}", f"{_number(seen)}{unit}", seen >= demanded)


def at_most(name: str, demanded: float, seen: float, unit: str = "") -> Figure:
    return Figure(name, f"at most {_number(demanded)}{unit}", f"{_number(seen)}{unit}", seen <= demanded)


def shortfalls(figures: Iterable[Figure]) -> list[Figure]:
    """What does not hold: empty where a proof stands."""
    return [figure for figure in figures if not figure.holds]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"
