"""What is printed: a table of servers under load, one of figures measured once, and the key ratios."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.results import Results, key_ratios


def show(results: Results) -> None:
    """Print all of it."""
    console = Console(width=120)
    for table in _tables(results):
        console.print(table)


def _tables(results: Results) -> Iterator[Table]:
    if any(results.rows.values()):
        yield _under_load(results)
    if any(results.figures.values()):
        yield _measured_once(results)
    if key_ratios(results):
        yield _key_ratios(results)


def _under_load(results: Results) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for name in ("", "server", "load"):
        table.add_column(name)
    for name in ("ratio", "a second", "processor µs each", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for part, rows in results.rows.items():
        for row in rows:
            table.add_row(
                part,
                row.name,
                str(row.load),
                "" if row.load.rate else f"{row.ratio:.2f}",
                f"{row.rate:.0f}",
                f"{row.cpu_us:.0f}",
                f"{row.p50_ms:.2f}",
                f"{row.p99_ms:.2f}",
            )
        if rows:
            table.add_section()
    return table


def _measured_once(results: Results) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for name in ("", "process", "what"):
        table.add_column(name)
    for name in ("ratio", "", ""):
        table.add_column(name, justify="right")
    for part, figures in results.figures.items():
        for figure in figures:
            table.add_row(part, figure.name, figure.what, f"{figure.ratio:.2f}", f"{figure.value:.1f}", figure.unit)
        if figures:
            table.add_section()
    return table


def _key_ratios(results: Results) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("key ratios, as in the trend")
    table.add_column("", justify="right")
    for name, ratio in key_ratios(results).items():
        table.add_row(name, f"{ratio:.2f}")
    return table
