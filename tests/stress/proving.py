"""A list of proofs, run one after the other, and a table of what was seen beside what is demanded.

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
from tests.stress.resilience_harness import Engine, Stage
from tests.support.postgres import postgres_server


@dataclass(frozen=True)
class Proof:
    """A proof as it is asked for. `run` takes the stage and the scale."""

    name: str
    run: Callable[[Stage, float], Figures]
    engines: tuple[Engine, ...] = tuple(Engine)


def live(happening: Callable[..., Coroutine[Any, Any, Figures]], **scaled: int) -> Callable[[Stage, float], Figures]:
    """A proof that runs on an event loop; the counts are for scale 1."""

    def run(stage: Stage, scale: float) -> Figures:
        return uvloop.run(happening(stage, **at_scale(scale, scaled)))

    return run


def at_scale(scale: float, counts: dict[str, int]) -> dict[str, int]:
    """The counts for this scale, each at least 1."""
    return {name: max(1, round(count * scale)) for name, count in counts.items()}


def prove(description: str, proofs: Sequence[Proof], arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for of these; 1 where a figure falls short."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--only", action="append", choices=[proof.name for proof in proofs], metavar="NAME")
    parser.add_argument("--engine", action="append", type=Engine, choices=list(Engine))
    parser.add_argument("--scale", type=float, default=1.0, help="of the counts, for trying")
    asked = parser.parse_args(arguments)
    begun = monotonic()
    short = [
        f"{proof.name} on {engine}"
        for proof in proofs
        if not asked.only or proof.name in asked.only
        for engine in proof.engines
        if not asked.engine or engine in asked.engine
        if shortfalls(_prove(proof, engine, asked.scale))
    ]
    _write(f"\n{_minutes(monotonic() - begun)}: {'fell short: ' + ', '.join(short) if short else 'all stand'}")
    return 1 if short else 0


def _prove(proof: Proof, engine: Engine, scale: float) -> Figures:
    begun = monotonic()
    say = partial(_say, f"{proof.name} on {engine}")
    say("begins")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proof-")))
        server = stack.enter_context(postgres_server()) if engine is Engine.POSTGRES else None
        try:
            figures = proof.run(Stage(engine, folder, server, say), scale)
        except Exception as error:  # noqa: BLE001 - the other proofs are worth seeing all the same
            traceback.print_exc()
            figures = (Figure("ends", "well", f"{type(error).__name__}: {error}"[:200], holds=False),)
    _write(f"\n{proof.name} on {engine}, {_minutes(monotonic() - begun)}")
    for figure in figures:
        verdict = ("ok" if figure.holds else "SHORT") if figure.demanded else ""
        _write(f"  {verdict:<6}{figure.name:<58}{figure.demanded:>16}  {figure.seen}")
    return figures


def _minutes(seconds: float) -> str:
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _say(about: str, text: str) -> None:
    sys.stderr.write(f"{about}: {text}\n")
