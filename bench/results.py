"""What a run found: kept as JSON, and its key ratios as one line more of the trend."""

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
from bench.outbound import ENVOY, FASTAPI, FLOOR, LEAN_FLOOR, NATIVE, UNDER_WAY
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
    """To the first one of its part."""


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

    def at_full(self, part: str, name: str, under_way: int) -> Row | None:
        """How a server did with so much under way, where that was measured."""
        rows = self.rows.get(part, ())
        return next((row for row in rows if row.name == name and row.load == Load(under_way)), None)


def results_of(parts: Mapping[str, Sequence[Row] | Sequence[Figure]], load_before: float) -> Results:
    """A run that has just ended, what it ran on, and how busy that was with other things before."""
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
    """Write the JSON over the last one's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(json.dumps(asdict(results), indent=1) + "\n")


def append_trend(results: Results, folder: Path) -> None:
    """Add the key ratios to the trend: it is looked at, and holds nobody up."""
    line = {"at": results.at, "commit": results.commit, "ratios": key_ratios(results)}
    with (folder / TREND).open("a") as trend:
        trend.write(json.dumps(line) + "\n")


def key_ratios(results: Results) -> dict[str, float]:
    """What a change is looked at by, as far as it was measured. More is better, but for time, memory and processor."""
    ratios = dict(_of_engines(results))
    rows = results.rows.get("workers", ())
    ratios |= {f"workers, {row.name}": row.ratio for row in rows if row.ratio != 1}  # the first of each company is
    for part in ("starting", "memory"):
        figures = results.figures.get(part, ())
        ratios |= {f"{part}, {each.name}, {each.what}": each.ratio for each in figures if each.ratio != 1}
    return {name: round(ratio, 3) for name, ratio in ratios.items()}


def _of_engines(results: Results) -> Iterator[tuple[str, float]]:
    """Each engine by each of the others that are worth a line, at full."""
    pairs = [("outbound", name, UNDER_WAY) for name in (FLOOR, LEAN_FLOOR, FASTAPI, ENVOY)]
    pairs += [("inbound", EMPTY, width) for width in WIDTHS]
    for engine in (*ENGINES, *(engine + NATIVE for engine in ENGINES)):
        for part, name, under_way in pairs:
            ours, theirs = results.at_full(part, engine, under_way), results.at_full(part, name, under_way)
            if ours is not None and theirs is not None:
                what = f"{part}, {engine} by {name}, {under_way} under way"
                yield what, ours.ratio / theirs.ratio
                yield f"{what}: processor", ours.cpu_us / theirs.cpu_us


def _commit() -> str:
    """What is checked out, and whether more was measured than is committed."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],  # noqa: S607 - the developer's own
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"
