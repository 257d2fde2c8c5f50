"""Scrapes of a gateway as the input of `promtool test rules`. One scrape is one minute of the rules' time."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

RULES = Path(__file__).parents[2] / "docs" / "prometheus-rules.yml"

_UNIX_TIMES = ("_not_after_seconds", "_timestamp_seconds", "_start_time_seconds")
_TARGET = (("instance", "gateway-1"), ("job", "session-gateway"))
_FIRING = 'group by (alertname) (ALERTS{alertstate="firing"})'
_EVER_FIRED = 'group by (alertname) (max_over_time(ALERTS{alertstate="firing"}[100h]))'

Labels = tuple[tuple[str, str], ...]


@dataclass
class Recording:
    """What Prometheus would have scraped, and which alerts must fire at which minutes."""

    started_at: float = field(default_factory=time.time)
    minute: int = 0
    _series: dict[tuple[str, Labels], dict[int, float]] = field(default_factory=dict)
    _checks: list[tuple[int, str, tuple[str, ...]]] = field(default_factory=list)

    async def scrape(self, http: aiohttp.ClientSession, admin: str, minutes: int = 1) -> None:
        """Scrape once, and let what was found stay for these minutes."""
        async with http.get(f"http://{admin}/metrics") as response:
            text = await response.text()
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        for _ in range(minutes):
            self._add("up", (), 1)
            for sample in samples:
                # The rules' time begins at 0. The disk is this machine's, and not judged.
                shift = self.started_at if sample.name.endswith(_UNIX_TIMES) else 0.0
                if "_store_disk_" not in sample.name:
                    self._add(sample.name, tuple(sample.labels.items()), sample.value - shift)
            self.minute += 1

    def no_answer(self, minutes: int) -> None:
        """The gateway does not answer for these minutes."""
        for _ in range(minutes):
            self._add("up", (), 0)
            self.minute += 1

    def firing(self, *alerts: str) -> None:
        """Exactly these alerts fire at the last scrape."""
        self._checks.append((self.minute - 1, _FIRING, alerts))

    def ever_fired(self, *alerts: str) -> None:
        """Exactly these alerts have fired so far."""
        self._checks.append((self.minute - 1, _EVER_FIRED, alerts))

    def _add(self, name: str, labels: Labels, value: float) -> None:
        self._series.setdefault((name, tuple(sorted((*labels, *_TARGET)))), {})[self.minute] = value

    def test_file(self) -> str:
        """The unit test of promtool."""
        lines = [f"rule_files: [{RULES}]", "evaluation_interval: 1m", "tests:", "  - interval: 1m"]
        lines.append("    input_series:")
        for (name, labels), values in self._series.items():
            selector = ",".join(f'{key}="{value}"' for key, value in labels)
            numbers = " ".join(_number(values.get(minute)) for minute in range(self.minute))
            lines += [f"      - series: '{name}{{{selector}}}'", f"        values: '{numbers}'"]
        lines.append("    promql_expr_test:")
        for minute, expression, alerts in self._checks:
            lines += [f"      - expr: '{expression}'", f"        eval_time: {minute}m", "        exp_samples:"]
            lines += [line for alert in alerts for line in _sample(alert)] or ["          []"]
        return "\n".join(lines) + "\n"

    async def verify(self, folder: Path) -> tuple[int, str]:
        """Run promtool: its exit code, and what it says."""
        file = folder / "alerts-test.yml"
        await asyncio.to_thread(file.write_text, self.test_file())
        return await promtool("test", "rules", str(file))


async def promtool(*arguments: str) -> tuple[int, str]:
    """Run promtool: its exit code, and what it says."""
    process = await asyncio.create_subprocess_exec(
        "promtool", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


def _sample(alert: str) -> Iterable[str]:
    labels = f'{{alertname="SessionGateway{alert}"}}'
    return (f"          - labels: '{labels}'", "            value: 1")


def _number(value: float | None) -> str:
    return "_" if value is None else repr(float(value))
