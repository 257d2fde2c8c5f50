"""The dashboard, and the alerts of its page, ask for nothing that a gateway does not tell."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric

from tests.gateway.telemetry.harness import telemetry_harness
from tests.gateway.telemetry.promql import Matcher, named

DOCS = Path(__file__).parents[3] / "docs"
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana-dashboard.json").read_text())

NOT_SHOWN = {
    "process_virtual_memory_bytes": "says nothing of a process that maps files; the resident memory is shown",
    "process_start_time_seconds": "is for alerts on restarts",
}
"""Families that have no panel, and why."""


def panels() -> Iterator[dict[str, Any]]:
    """All panels but the rows."""
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def queries() -> list[str]:
    """All queries of the dashboard."""
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def alerts() -> list[str]:
    """All queries of the page."""
    blocks = re.findall(r"```promql\n(.*?)```", (DOCS / "observability.md").read_text(), re.DOTALL)
    lines = (line.partition("#")[0].strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line]


@pytest.fixture(scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> list[Metric]:
    """What a real gateway tells after real traffic."""
    async with telemetry_harness(tmp_path_factory.mktemp("telemetry")) as harness:
        await harness.traffic()
        return await harness.exposition()


def wrong(expression: str, told: list[Metric]) -> list[str]:
    """What an expression names that is not there."""
    values: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for sample in (sample for family in told for sample in family.samples):
        for label, value in sample.labels.items():
            values[sample.name][label].add(value)
        values[sample.name].setdefault("", set())
    names = named(expression)
    problems = [f"no metric {metric}" for metric in names.metrics if metric not in values]
    problems += [f"{m.metric} has no {m.label}={m.value!r}" for m in names.matchers if not matches(m, values[m.metric])]
    problems += [
        f"{metric} has no label {label}"
        for metric in names.metrics
        for label in names.groups
        if label not in values[metric]
    ]
    return problems if names.metrics else [*problems, "names no metric"]


def matches(matcher: Matcher, labels: dict[str, set[str]]) -> bool:
    """Whether the label is there, and a value that the condition picks out, or sorts out."""
    among = labels.get(matcher.label, set())
    if matcher.operator in {"=", "!="}:
        return matcher.value in among
    return any(re.fullmatch(matcher.value, value) for value in among)


def test_all_queries_name_what_a_gateway_tells(told: list[Metric]) -> None:
    """Metrics, labels, and the labels' values: each of them was seen after real traffic."""
    assert len(queries()) > 25
    assert len(alerts()) > 8
    assert {query: wrong(query, told) for query in (*queries(), *alerts()) if wrong(query, told)} == {}


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("rate(session_gateway_cals_total[5m])", "no metric session_gateway_cals_total"),
        ("session_gateway_calls", "no metric session_gateway_calls"),
        ('session_gateway_calls_total{reason="CLOSED"}', "session_gateway_calls_total has no reason='CLOSED'"),
        (
            'session_gateway_circuit_breaker_state{state="open"}',
            "session_gateway_circuit_breaker_state has no state='open'",
        ),
        (
            'session_gateway_circuit_breaker_state{state=~"open|ajar"}',
            "session_gateway_circuit_breaker_state has no state='open|ajar'",
        ),
        ("sum by (reason) (session_gateway_calls_total)", "session_gateway_calls_total has no label reason"),
        (
            "sum by (le) (rate(session_gateway_call_duration_seconds_sum[5m]))",
            "session_gateway_call_duration_seconds_sum has no label le",
        ),
        ("vector(1) > 1e9", "names no metric"),
    ],
)
def test_a_name_that_is_misspelt_is_found(told: list[Metric], expression: str, problem: str) -> None:
    assert wrong(expression, told) == [problem]


def test_each_family_is_on_the_dashboard_or_says_why_not(told: list[Metric]) -> None:
    """What nobody looks at need not be told."""
    shown = {metric for query in queries() for metric in named(query).metrics}
    hidden = {
        family.name for family in told if not shown & ({sample.name for sample in family.samples} | {family.name})
    }
    assert hidden == NOT_SHOWN.keys()


def test_each_family_is_told_of_on_the_page(told: list[Metric]) -> None:
    """By the name that a query would use."""
    page = (DOCS / "observability.md").read_text()
    ours = {family.name for family in told if family.name.startswith("session_gateway_")}
    assert [name for name in sorted(ours) if f"`{name.removeprefix('session_gateway_')}" not in page] == []


def test_legends_name_what_their_query_groups_by() -> None:
    """A legend of another label would be empty."""
    for panel in panels():
        for target in panel["targets"]:
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= named(target["expr"]).groups


def test_it_can_be_imported() -> None:
    """One variable for the data source, which every panel and every query uses; ids and places of their own."""
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    assert DASHBOARD["id"] is None
    assert isinstance(DASHBOARD["schemaVersion"], int)
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"] == source
        assert [target["datasource"] for target in panel["targets"]] == [source] * len(panel["targets"])
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not taken & cells
        taken |= cells
