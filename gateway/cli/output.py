"""Printing, exit codes, and reading the configuration for a command."""

import os
import re
import sys
from pathlib import Path
from typing import NoReturn

from gateway.config import ConfigInvalid, Problem, Settings, load
from gateway.telemetry.log_writer import write_or_drop

EXIT_FAILED = 1
"""A server could not start, a gateway rejected a call, or the ledger does not balance."""
EXIT_INVALID = 2
"""The arguments or the configuration are invalid."""
EXIT_NOT_DONE = 3
"""The ledger could not be read or copied."""

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters and text direction marks: what others wrote must not control the terminal."""


def printable(text: str) -> str:
    """The text without what could control a terminal. Line breaks and tabs stay."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def print_line(text: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{text}\n")


def print_error(text: str) -> None:
    """Write a line to standard error. It is dropped where nothing reads it, so that a server can end."""
    write_or_drop(sys.stderr, f"{text}\n")


def load_or_exit(config: Path) -> Settings:
    """Read a configuration file. Prints what is wrong with it and exits if it is invalid."""
    try:
        return load(config, os.environ)
    except ConfigInvalid as invalid:
        exit_with_problems(config, invalid.problems)


def exit_with_problems(config: Path, problems: tuple[Problem, ...]) -> NoReturn:
    """Print what is wrong with a configuration and exit."""
    for problem in problems:
        print_error(f"{config}: {problem.path}: {problem.message}" if problem.path else problem.message)
    raise SystemExit(EXIT_INVALID)
