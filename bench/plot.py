"""The run as a picture: ratios of closes and Results, latencies, and what more processes add."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bench.environment import ENGINES, SQLITE
from bench.inbound import ONE_BY_ONE
from bench.outbound import BASELINE, NATIVE
from bench.results import Results
from bench.rounds import Row

PICTURE = "results.png"

OURS, OTHERS = "#1f6f8b", "#b8bfc6"
LATER = "#e08e45"


def draw(results: Results, folder: Path) -> None:
    """Write the picture; it replaces the last one's."""
    mpl.use("agg")
    canvas = Canvas(figsize=(11, 8), layout="constrained")
    canvas.suptitle("Calls a second as a ratio, processor time of each call; the gateway's are durable")
    out, inward, latencies, workers = canvas.subplots(2, 2).flat
    rows = results.rows
    plotted = {BASELINE, *ENGINES, SQLITE + NATIVE}
    _ratios(out, "CloseSession, by the baseline", _full(rows.get("outbound", ())))
    _ratios(inward, "Result, by an empty aiohttp handler", _full(rows.get("inbound", ())))
    _latencies(latencies, [row for row in rows.get("outbound", ()) if row.name in plotted])
    _ratios(workers, "Workers on PostgreSQL, by one worker", rows.get("workers", ()))
    canvas.savefig(folder / PICTURE, dpi=110)


def _full(rows: Sequence[Row]) -> list[Row]:
    """The rows at full load."""
    return [row for row in rows if row.load.rate is None and row.load.in_flight > 1]


def _ratios(axes: Axes, title: str, rows: Sequence[Row]) -> None:
    several = len({str(row.load) for row in rows}) > 1
    names = [f"{row.name}, {row.load}" if several else row.name for row in rows]
    ratios = [row.ratio for row in rows]
    bars = axes.barh(names, ratios, color=[OURS if _is_ours(row) else OTHERS for row in rows])
    axes.bar_label(bars, [f"{row.ratio:.2f}   {row.cpu_us:.0f} µs" for row in rows], padding=3, fontsize=8)
    axes.axvline(1, color="#444444", linewidth=0.8)
    axes.set_xlim(0, max(ratios, default=1) * 1.3)
    axes.invert_yaxis()
    _finish(axes, title)


def _is_ours(row: Row) -> bool:
    return ONE_BY_ONE not in row.name and any(engine in row.name for engine in ENGINES)


def _latencies(axes: Axes, rows: Sequence[Row]) -> None:
    names = [f"{row.name}, {row.load}" for row in rows]
    axes.scatter([row.p50_ms for row in rows], names, color=OURS, label="p50")
    axes.scatter([row.p99_ms for row in rows], names, color=LATER, label="p99")
    if rows:
        axes.set_xscale("log")
        axes.legend(fontsize=8)
    axes.invert_yaxis()
    _finish(axes, "CloseSession: milliseconds to the answer")


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
