"""What is printed."""

from collections.abc import Sequence

from bench.measuring import Row


def table(title: str, rows: Sequence[Row]) -> str:
    """Rows of one company, the first of which is what the others are measured by."""
    width = max(22, *(len(row.name) for row in rows))
    lines = [
        f"{title:<{width}} {'load':<16} {'a second':>9} {'cpu us each':>12} {'ratio':>6} {'p50 ms':>8} {'p99 ms':>8}"
    ]
    lines += [
        f"{row.name:<{width}} {row.load:<16} {row.rate:>9.0f} {row.cpu_us:>12.0f} {row.ratio:>6.2f} "
        f"{row.p50_ms:>8.2f} {row.p99_ms:>8.2f}"
        for row in rows
    ]
    return "\n".join(lines)
