"""Reading of one table of the file. A problem is collected and reading goes on, so that all problems show at once."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import msgspec

from gateway.config.problems import InvalidValue, Problem, dotted, unknown_key
from gateway.config.values import type_name

T = TypeVar("T")
DefaultT = TypeVar("DefaultT")
SettingsT = TypeVar("SettingsT", bound=msgspec.Struct)


class Table:
    """A table with its path, and the list that collects problems. A key that was read counts as known."""

    def __init__(self, path: str, raw: Mapping[str, object], problems: list[Problem]) -> None:
        self._path = path
        self._raw = raw
        self._problems = problems
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def read(
        self, kind: type[SettingsT], known: Mapping[str, object] | None = None, /, **parsers: Callable[[object], object]
    ) -> SettingsT:
        """The whole table as settings: each parser is named for its key and field, whose default applies without it.

        `known` holds fields that were read already. Any other key is a problem.
        """
        fields = {key: self.optional(key, parse, None) for key, parse in parsers.items()}
        self.reject_unknown_keys()
        return kind(**(known or {}), **{key: value for key, value in fields.items() if value is not None})

    def optional(self, key: str, parse: Callable[[object], T], default: DefaultT) -> T | DefaultT:
        """The value of a key; the default where it is absent, or invalid, which is a problem."""
        self._known.add(key)
        if key not in self._raw:
            return default
        try:
            return parse(self._raw[key])
        except InvalidValue as invalid:
            self.add_problem(key, str(invalid))
            return default

    def required(self, key: str, parse: Callable[[object], T], placeholder: T, example: str) -> T:
        """The value of a key; the placeholder where it is absent or invalid, which is a problem."""
        if key not in self._raw:
            near = difflib.get_close_matches(key, self._raw.keys() - self._known, n=1)
            hint = f" (perhaps {dotted(self._path, near[0])} is meant)" if near else ""
            self.add_problem(key, f"is missing{hint}; write {key} = {example}")
        return self.optional(key, parse, placeholder)

    def list_of(self, key: str, parse: Callable[[object], T], example: str) -> tuple[T, ...]:
        """The values of a list; an invalid one is left out, and is a problem with its index."""
        self._known.add(key)
        value = self._raw.get(key, [])
        if not isinstance(value, list):
            self.add_problem(
                key, f"must be a list in square brackets, such as {key} = {example}, not {type_name(value)}"
            )
            return ()
        found = []
        for index, item in enumerate(value):
            try:
                found.append(parse(item))
            except InvalidValue as invalid:
                self._problems.append(Problem(f"{dotted(self._path, key)}[{index}]", str(invalid)))
        return tuple(found)

    def table(self, key: str) -> "Table":
        """The table under a key; an empty one where it is absent, or not a table, which is a problem."""
        self._known.add(key)
        value = self._raw.get(key, {})
        if not isinstance(value, dict):
            self.add_problem(key, f"must be a table, written [{dotted(self._path, key)}], not {type_name(value)}")
            value = {}
        return Table(dotted(self._path, key), value, self._problems)

    def add_problem(self, key: str, message: str) -> None:
        """Add a problem with a key of this table."""
        self._problems.append(Problem(dotted(self._path, key), message))

    def unknown(self) -> dict[str, object]:
        """The keys that were not read, with their values."""
        return {key: value for key, value in self._raw.items() if key not in self._known}

    def reject_unknown_keys(self) -> None:
        """Add a problem for each key that was not read."""
        for key in self.unknown():
            self.add_problem(key, unknown_key(key, self._known))
