"""The results of a run: written as JSON, and its key ratios as one more line of the trend."""

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.environment import ENGINES
from bench.inbound import EMPTY, WIDTHS
from bench.outbound import BASELINE, BASELINE_OWN_CLIENT, ENVOY, FASTAPI, IN_FLIGHT, NATIVE
from bench.rounds import Load, Row

RESULTS = Path(__file__).parent / "results"
JSON = "results.json"
TREND = "trend.jsonl"

LIBRARIES = ("grpcio", "aiohttp", "uvloop", "protobuf", "asyncpg")


@dataclass(frozen=True)
class Figure:
    """Something that is measured once for a process, and not for each call."""

    name: str
    what: str
    value: float
    unit: str
    ratio: float
    """Divided by the first one of its part."""


@dataclass(frozen=True)
class Results:
    """All parts of one run."""

    at: str
    commit: str
    machine: Mapping[str, Any]
    rows: Mapping[str, Sequence[Row]]
    """By part: servers under load."""
    figures: Mapping[str, Sequence[Figure]]
    """By part: the others."""

    def at_full(self, part: str, name: str, in_flight: int) -> Row | None:
        """A server's row with that many requests in flight; None if that was not measured."""
        rows = self.rows.get(part, ())
        return next((row for row in rows if row.name == name and row.load == Load(in_flight)), None)


def results_of(parts: Mapping[str, Sequence[Row] | Sequence[Figure]], load_before: float) -> Results:
    """The results of a run that has just ended; `load_before` is the machine's load average before it."""
    return Results(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        machine={
            "processors": os.cpu_count(),
            "load_before": load_before,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        rows={part: [each for each in found if isinstance(each, Row)] for part, found in parts.items()},
        figures={part: [each for each in found if isinstance(each, Figure)] for part, found in parts.items()},
    )


def write(results: Results, folder: Path) -> None:
    """Write the JSON; it replaces the last run's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(json.dumps(asdict(results), indent=1) + "\n")


def append_trend(results: Results, folder: Path) -> None:
    """Add the key ratios to the trend."""
    line = {"at": results.at, "commit": results.commit, "ratios": key_ratios(results)}
    with (folder / TREND).open("a") as trend:
        trend.write(json.dumps(line) + "\n")


def key_ratios(results: Results) -> dict[str, float]:
    """The ratios that a change is judged by, if measured. More is better, but for time, memory and processor."""
    ratios = dict(_of_engines(results))
    rows = results.rows.get("workers", ())
    ratios |= {f"workers, {row.name}": row.ratio for row in rows if row.ratio != 1}
    for part in ("starting", "memory"):
        figures = results.figures.get(part, ())
        ratios |= {f"{part}, {each.name}, {each.what}": each.ratio for each in figures if each.ratio != 1}
    return {name: round(ratio, 3) for name, ratio in ratios.items()}


def _of_engines(results: Results) -> Iterator[tuple[str, float]]:
    """Each engine at full load, divided by each of the servers that it is compared with."""
    pairs = [("outbound", name, IN_FLIGHT) for name in (BASELINE, BASELINE_OWN_CLIENT, FASTAPI, ENVOY)]
    pairs += [("inbound", EMPTY, width) for width in WIDTHS]
    for engine in (*ENGINES, *(engine + NATIVE for engine in ENGINES)):
        for part, name, in_flight in pairs:
            ours, theirs = results.at_full(part, engine, in_flight), results.at_full(part, name, in_flight)
            if ours is not None and theirs is not None:
                what = f"{part}, {engine} by {name}, {in_flight} in flight"
                yield what, ours.ratio / theirs.ratio
                yield f"{what}: processor", ours.cpu_us / theirs.cpu_us


def _commit() -> str:
    """The commit that is checked out, and whether files differ from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],  # noqa: S607 - the developer's own
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"
