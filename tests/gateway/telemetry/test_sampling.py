"""Sampling of lines: the first of each source and reason, then one a minute with the number of the others."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.telemetry import sampling
from gateway.telemetry.sampling import MAX_SAMPLES, WINDOW_S, LineSampler


@dataclass
class Sampled:
    """A sampler, its clock, and what it wrote."""

    now: float = 1000.0
    lines: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sampler = LineSampler(self._write, lambda: self.now)

    def _write(self, peer: str, reason: str, **fields: Any) -> None:
        self.lines.append((peer, reason, fields))


def test_the_first_of_each_source_and_reason_is_written_and_then_a_line_a_minute() -> None:
    """The others of the minute are one line with their number, which the next line of any source writes too."""
    sampled = Sampled()
    for number, peer in enumerate(("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1")):
        sampled.sampler.add(peer, "one", number=number)
    sampled.sampler.add("192.0.2.1", "two")
    assert sampled.lines == [
        ("192.0.2.1", "one", {"number": 0}),
        ("192.0.2.2", "one", {"number": 2}),
        ("192.0.2.1", "two", {}),
    ]
    sampled.now += WINDOW_S - 1
    sampled.sampler.flush()
    assert len(sampled.lines) == 3
    sampled.now += 1
    sampled.sampler.add("192.0.2.3", "one")
    assert sampled.lines[3:] == [("192.0.2.1", "one", {"suppressed": 2}), ("192.0.2.3", "one", {})]
    sampled.now += WINDOW_S
    sampled.sampler.flush()
    assert len(sampled.lines) == 5
    sampled.sampler.add("192.0.2.1", "one")
    assert sampled.lines[5:] == [("192.0.2.1", "one", {})]  # it was quiet for a minute: the next is a first one


def test_a_flood_from_many_sources_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the number that is remembered, all new sources share one line."""
    assert MAX_SAMPLES >= 1000
    monkeypatch.setattr(sampling, "MAX_SAMPLES", 10)
    sampled = Sampled()
    for number in range(1000):
        sampled.sampler.add(f"192.0.{number // 250}.{number % 250}", "one")
    assert len(sampled.lines) == 11
    assert sampled.lines[-1] == ("many sources", "one", {})
    assert len(sampled.sampler._samples) == 11
