"""The results of a run, as printed and as written."""

import json
from pathlib import Path

import pytest

from bench.report import show
from bench.results import JSON, TREND, Figure, Results, append_trend, key_ratios, results_of, write
from bench.rounds import Load, Row


def row(name: str, ratio: float, load: Load, cpu_us: float) -> Row:
    return Row(name, load, rate=1000 * ratio, cpu_us=cpu_us, ratio=ratio, p50_ms=1, p99_ms=2)


def found() -> Results:
    """Some parts of a run."""
    full, half = Load(64), Load(64, rate=250)
    return results_of(
        {
            "outbound": [
                row("sqlite", 7, half, cpu_us=900),
                row("baseline", 1, full, cpu_us=500),
                row("sqlite", 0.9, full, cpu_us=1000),
                row("FastAPI + httpx", 0.2, full, cpu_us=4000),
            ],
            "memory": [Figure("sqlite", "at rest", 60.0, "MiB", 1.5)],
        },
        load_before=0.1,
    )


def test_key_ratios_are_of_what_was_measured_at_full() -> None:
    """A ratio is of two servers of the same part; what was not measured is left out."""
    assert key_ratios(found()) == {
        "outbound, sqlite by baseline, 64 in flight": 0.9,
        "outbound, sqlite by baseline, 64 in flight: processor": 2.0,
        "outbound, sqlite by FastAPI + httpx, 64 in flight": 4.5,
        "outbound, sqlite by FastAPI + httpx, 64 in flight: processor": 0.25,
        "memory, sqlite, at rest": 1.5,
    }


def test_figures_are_written_over_and_the_trend_grows(tmp_path: Path) -> None:
    """The last run's figures replace those before; the trend keeps a line of every run, with its commit."""
    for _ in range(2):
        write(found(), tmp_path)
        append_trend(found(), tmp_path)
    written = json.loads((tmp_path / JSON).read_text())
    assert [each["name"] for each in written["rows"]["outbound"]] == ["sqlite", "baseline", "sqlite", "FastAPI + httpx"]
    lines = [json.loads(line) for line in (tmp_path / TREND).read_text().splitlines()]
    assert len(lines) == 2
    assert lines[0]["ratios"]["outbound, sqlite by baseline, 64 in flight"] == 0.9
    assert lines[0]["commit"]


def test_a_ratio_is_shown_only_where_a_server_was_at_full(capsys: pytest.CaptureFixture[str]) -> None:
    """A row whose load has a rate shows no ratio."""
    show(found())
    printed = capsys.readouterr().out
    assert "0.90" in printed
    assert "7.00" not in printed
