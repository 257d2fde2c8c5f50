"""Reading one table of the file: what is wrong is noted, and reading goes on, so that all problems show at once."""

import difflib
from collections.abc import Callable, Mapping
from typing import TypeVar

from gateway.config.problems import InvalidValue, Problem, dotted, unknown_key
from gateway.config.values import kind

T = TypeVar("T")
DefaultT = TypeVar("DefaultT")


class Table:
    """A table, the path to it, and the list that takes the problems. Each key that is asked for counts as known."""

    def __init__(self, path: str, raw: Mapping[str, object], problems: list[Problem]) -> None:
        self._path = path
        self._raw = raw
        self._problems = problems
        self._known: set[str] = set()

    @property
    def path(self) -> str:
        """Where this table stands in the file."""
        return self._path

    def names(self) -> tuple[str, ...]:
        """The keys that the file gives, in its order."""
        return tuple(self._raw)

    def optional(self, key: str, form: Callable[[object], T], default: DefaultT) -> T | DefaultT:
        """The value of a key; the default where it is absent, or wrong, which is noted."""
        self._known.add(key)
        if key not in self._raw:
            return default
        try:
            return form(self._raw[key])
        except InvalidValue as wrong:
            self.note(key, str(wrong))
            return default

    def required(self, key: str, form: Callable[[object], T], stand_in: T, example: str) -> T:
        """As `take`, where absence is a problem too. The stand-in lets reading go on; `load` never answers it."""
        if key not in self._raw:
            near = difflib.get_close_matches(key, self._raw.keys() - self._known, n=1)
            hint = f" (perhaps {dotted(self._path, near[0])} is meant)" if near else ""
            self.note(key, f"is missing{hint}; write {key} = {example}")
        return self.optional(key, form, stand_in)

    def each(self, key: str, form: Callable[[object], T], example: str) -> tuple[T, ...]:
        """The values of a list; wrong ones are noted with their index and left out."""
        self._known.add(key)
        value = self._raw.get(key, [])
        if not isinstance(value, list):
            self.note(key, f"must be a list in square brackets, such as {key} = {example}, not {kind(value)}")
            return ()
        found = []
        for index, item in enumerate(value):
            try:
                found.append(form(item))
            except InvalidValue as wrong:
                self._problems.append(Problem(f"{dotted(self._path, key)}[{index}]", str(wrong)))
        return tuple(found)

    def table(self, key: str) -> "Table":
        """The table under a key; an empty one where it is absent, or not a table, which is noted."""
        self._known.add(key)
        value = self._raw.get(key, {})
        if not isinstance(value, dict):
            self.note(key, f"must be a table, written [{dotted(self._path, key)}], not {kind(value)}")
            value = {}
        return Table(dotted(self._path, key), value, self._problems)

    def note(self, key: str, message: str) -> None:
        """Note a problem with a key of this table."""
        self._problems.append(Problem(dotted(self._path, key), message))

    def rest(self) -> dict[str, object]:
        """What nobody has asked for."""
        return {key: value for key, value in self._raw.items() if key not in self._known}

    def reject_unknown_keys(self) -> None:
        """Note each key that nobody has asked for."""
        for key in self.rest():
            self.note(key, unknown_key(key, self._known))
