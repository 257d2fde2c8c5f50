"""Runs stress tests one after the other, and prints each figure with what is required.

Progress goes to standard error.
"""

import argparse
import sys
import tempfile
import traceback
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import uvloop

from tests.stress.figures import Figure, Figures, shortfalls
from tests.stress.processes import Engine, StressEnvironment
from tests.support.postgres import postgres_server


@dataclass(frozen=True)
class StressTest:
    """A stress test. `run` takes the environment and the scale."""

    name: str
    run: Callable[[StressEnvironment, float], Figures]
    engines: tuple[Engine, ...] = tuple(Engine)


def live(
    happening: Callable[..., Coroutine[Any, Any, Figures]], **scaled: int
) -> Callable[[StressEnvironment, float], Figures]:
    """A stress test that runs on an event loop; the counts are for scale 1."""

    def run(environment: StressEnvironment, scale: float) -> Figures:
        return uvloop.run(happening(environment, **at_scale(scale, scaled)))

    return run


def at_scale(scale: float, counts: dict[str, int]) -> dict[str, int]:
    """The counts for this scale, each at least 1."""
    return {name: max(1, round(count * scale)) for name, count in counts.items()}


def run_stress_tests(description: str, tests: Sequence[StressTest], arguments: Sequence[str] | None = None) -> int:
    """Run those that the command line names; returns 1 if a figure falls short."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--only", action="append", choices=[test.name for test in tests], metavar="NAME")
    parser.add_argument("--engine", action="append", type=Engine, choices=list(Engine))
    parser.add_argument("--scale", type=float, default=1.0, help="of the counts, for trying")
    asked = parser.parse_args(arguments)
    begun = monotonic()
    short = [
        f"{test.name} on {engine}"
        for test in tests
        if not asked.only or test.name in asked.only
        for engine in test.engines
        if not asked.engine or engine in asked.engine
        if shortfalls(_run(test, engine, asked.scale))
    ]
    _write(f"\n{_minutes(monotonic() - begun)}: {'fell short: ' + ', '.join(short) if short else 'all hold'}")
    return 1 if short else 0


def _run(test: StressTest, engine: Engine, scale: float) -> Figures:
    begun = monotonic()
    report = partial(_print_progress, f"{test.name} on {engine}")
    report("begins")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stress-")))
        server = stack.enter_context(postgres_server()) if engine is Engine.POSTGRES else None
        try:
            figures = test.run(StressEnvironment(engine, folder, server, report), scale)
        except Exception as error:  # noqa: BLE001 - the other tests run all the same
            traceback.print_exc()
            figures = (Figure("ends", "well", f"{type(error).__name__}: {error}"[:200], holds=False),)
    _write(f"\n{test.name} on {engine}, {_minutes(monotonic() - begun)}")
    for figure in figures:
        result = ("ok" if figure.holds else "SHORT") if figure.required else ""
        _write(f"  {result:<6}{figure.name:<58}{figure.required:>16}  {figure.seen}")
    return figures


def _minutes(seconds: float) -> str:
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _print_progress(about: str, text: str) -> None:
    sys.stderr.write(f"{about}: {text}\n")
