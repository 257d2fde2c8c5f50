"""What is wrong with a configuration, each problem with the path of its key."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or only unwise: the key's dotted path (`callback_keys[0]` for a list) and what to do.

    The path is empty where the file as a whole is meant. A message never holds the value of a secret.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigInvalid(Exception):
    """The configuration cannot be used; `problems` holds everything that was found, in the file's order of sections."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class InvalidValue(ValueError):
    """One value is not of its form. The message is for a person, and whoever knows the key's path adds it."""


def dotted(path: str, key: str) -> str:
    """The path of a key inside a table; a key that TOML would have to quote is quoted."""
    shown = key if _BARE_KEY.fullmatch(key) else ascii(key)
    return f"{path}.{shown}" if path else shown


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message for a key that nobody reads, with the nearest one that somebody does."""
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; known here: {', '.join(names)}" if names else "unknown key; remove it"
