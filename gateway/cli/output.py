"""What commands tell a person on standard error, and the codes that they exit with."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from gateway.config import ConfigInvalid, Problem, Settings, load

EXIT_CONFIG = 2
EXIT_CANNOT_START = 1
EXIT_UNSOUND = 1
EXIT_NOT_DONE = 3


def print_error(text: str) -> None:
    """Write a line, as it is."""
    sys.stderr.write(f"{text}\n")


def settings_of(config: Path) -> Settings:
    """What stands in a configuration file. Tells what is wrong with it, and exits."""
    try:
        return load(config, os.environ)
    except ConfigInvalid as invalid:
        exit_with_problems(config, invalid.problems)


def exit_with_problems(config: Path, problems: tuple[Problem, ...]) -> NoReturn:
    """Tell what is wrong with a configuration, and exit."""
    for problem in problems:
        print_error(f"{config}: {problem.path}: {problem.message}" if problem.path else problem.message)
    raise SystemExit(EXIT_CONFIG)
