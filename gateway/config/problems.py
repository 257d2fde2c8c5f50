"""What is wrong with a configuration, each problem with the path of its key."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, or a warning: the key's dotted path (`callback_keys[0]` in a list), what is wrong, and what to write.

    The path is empty for the file as a whole. A message never holds the value of a secret.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigInvalid(Exception):
    """The configuration cannot be used. `problems` holds all that is wrong, in the order of sections."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class InvalidValue(ValueError):
    """A value is invalid. The caller adds the key's path to the message."""


def dotted(path: str, key: str) -> str:
    """The path of a key in a table; the key is quoted where TOML needs it."""
    shown = key if _BARE_KEY.fullmatch(key) else ascii(key)
    return f"{path}.{shown}" if path else shown


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message for an unknown key, with the nearest known one."""
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; known here: {', '.join(names)}" if names else "unknown key; remove it"
