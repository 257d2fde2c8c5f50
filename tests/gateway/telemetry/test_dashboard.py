"""The dashboard and the documented alerts query only metrics that a gateway exports."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from prometheus_client.metrics_core import Metric

from tests.gateway.telemetry.harness import telemetry_harness
from tests.gateway.telemetry.promql import Matcher, Names, parse
from tests.support.gateway import provider_table

DOCS = Path(__file__).parents[3] / "docs"
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana-dashboard.json").read_text())

NOT_SHOWN = {
    "process_virtual_memory_bytes": "means nothing for a process that maps files; resident memory has a panel",
    "session_gateway_result_age_seconds": "is looked up where a provider's deliveries are late; clocks differ",
    "session_gateway_certificate_not_after_seconds": "is for an alert, weeks before",
    "process_start_time_seconds": "is for alerts on restarts",
    "session_gateway_callback_key_uses": "is read once, while a key is rotated",
}
"""Metrics without a panel, and the reason."""


def panels() -> Iterator[dict[str, Any]]:
    """All panels except rows."""
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def queries() -> list[str]:
    """All queries of the dashboard."""
    return [target["expr"] for panel in panels() for target in panel["targets"]]


EXPORTED_ELSEWHERE = {"up"}
"""Metrics of the alerts that Prometheus makes, or that a gateway's log makes."""

OF_PROMETHEUS = {"instance", "job"}
"""Labels that a scrape adds."""


def rules() -> list[dict[str, str]]:
    """Each alert of docs/prometheus-rules.yml: its keys, without their nesting."""
    text = (DOCS / "prometheus-rules.yml").read_text()
    blocks = re.split(r"^      - alert: ", text, flags=re.MULTILINE)[1:]
    pairs = (re.findall(r"^ +(\w+): (.+)$", f"    alert: {block}", re.MULTILINE) for block in blocks)
    return [{key: value.strip("'").replace("''", "'") for key, value in each} for each in pairs]


def alerts() -> list[str]:
    """All queries of the alerts."""
    return [rule["expr"] for rule in rules()]


@pytest.fixture(scope="module")
async def exposition(tmp_path_factory: pytest.TempPathFactory) -> list[Metric]:
    """The metrics of a gateway after traffic."""
    folder = tmp_path_factory.mktemp("telemetry")
    trustme.CA().cert_pem.write_to_path(folder / "ca.pem")
    login, tls = '"partner-1"', '{ ca = "ca.pem" }'
    secured = provider_table("secured", "luckymonaco", "https://127.0.0.1:1", secure_login=login, tls=tls)
    async with telemetry_harness(folder, secured) as harness:
        await harness.traffic()
        return await harness.exposition()


def unknown_names(expression: str, exposition: list[Metric]) -> list[str]:
    """The metrics, labels and label values of an expression that the exposition does not have."""
    values: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for sample in (sample for family in exposition for sample in family.samples):
        for label, value in sample.labels.items():
            values[sample.name][label].add(value)
        values[sample.name].setdefault("", set())
    names = without_variables(parse(expression))
    problems = [f"no metric {metric}" for metric in names.metrics if metric not in values]
    problems += [f"{m.metric} has no {m.label}={m.value!r}" for m in names.matchers if not matches(m, values[m.metric])]
    problems += [
        f"{metric} has no label {label}"
        for metric in names.metrics
        for label in names.groups
        if label not in values[metric]
    ]
    return problems if parse(expression).metrics else [*problems, "names no metric"]


def without_variables(names: Names) -> Names:
    """The names that a gateway's exposition must have."""
    matchers = tuple(each for each in names.matchers if "$" not in each.value and each.label not in OF_PROMETHEUS)
    matchers = tuple(each for each in matchers if each.metric not in EXPORTED_ELSEWHERE)
    metrics = names.metrics - EXPORTED_ELSEWHERE
    return Names(metrics, matchers, names.groups - OF_PROMETHEUS)


def matches(matcher: Matcher, labels: dict[str, set[str]]) -> bool:
    """Whether the label exists with a value that the matcher selects or excludes."""
    values = labels.get(matcher.label, set())
    if matcher.operator in {"=", "!="}:
        return matcher.value in values
    return any(re.fullmatch(matcher.value, value) for value in values)


def test_queries_name_only_exported_metrics(exposition: list[Metric]) -> None:
    """Each metric, label and label value of a query is in the exposition after traffic."""
    assert len(queries()) > 25
    assert len(alerts()) > 8
    problems = {query: unknown_names(query, exposition) for query in (*queries(), *alerts())}
    assert {query: names for query, names in problems.items() if names} == {}


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
def test_a_misspelt_name_is_found(exposition: list[Metric], expression: str, problem: str) -> None:
    """The check of queries reports it."""
    assert unknown_names(expression, exposition) == [problem]


def test_each_metric_has_a_panel_or_a_reason_for_none(exposition: list[Metric]) -> None:
    """Every exported metric is on the dashboard or in NOT_SHOWN."""
    shown = {metric for query in queries() for metric in parse(query).metrics}
    hidden = {
        family.name for family in exposition if not shown & ({sample.name for sample in family.samples} | {family.name})
    }
    assert hidden == NOT_SHOWN.keys()


def test_each_metric_is_documented(exposition: list[Metric]) -> None:
    """The documentation has each metric of the gateway by the name that queries use."""
    page = (DOCS / "observability.md").read_text()
    ours = {family.name for family in exposition if family.name.startswith("session_gateway_")}
    assert [name for name in sorted(ours) if f"`{name.removeprefix('session_gateway_')}" not in page] == []


def test_legends_use_labels_that_their_query_groups_by() -> None:
    """A legend with another label would be empty."""
    for panel in panels():
        for target in panel["targets"]:
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= parse(target["expr"]).groups


def test_the_dashboard_can_be_imported() -> None:
    """All panels and queries use one data source variable, and no two panels share an id or a position."""
    variable, *_ = DASHBOARD["templating"]["list"]
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
    occupied: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        position = panel["gridPos"]
        cells = {(position["x"] + x, position["y"] + y) for x in range(position["w"]) for y in range(position["h"])}
        assert position["x"] + position["w"] <= 24
        assert not occupied & cells
        occupied |= cells


def test_each_query_uses_the_variables(exposition: list[Metric]) -> None:
    """Each metric of a query is of the chosen instances, and where it has a provider, of the chosen providers."""
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "instance", "provider"}
    labels = {sample.name: sample.labels for family in exposition for sample in family.samples}
    for query in queries():
        names = parse(query)
        used = {(each.metric, each.label, each.operator, each.value) for each in names.matchers}
        for metric in names.metrics:
            assert (metric, "instance", "=~", "$instance") in used, query
            if "provider" in labels[metric]:
                assert (metric, "provider", "=~", "$provider") in used, query


def test_each_alert_has_what_a_person_needs() -> None:
    """A duration, a severity, a summary, a description, and a section of docs/operations.md, of which there is no
    other; docs/observability.md lists it with its severity and duration.
    """
    operations, observability = (DOCS / "operations.md").read_text(), (DOCS / "observability.md").read_text()
    assert len(rules()) > 25
    for rule in rules():
        assert rule["severity"] in {"critical", "warning"}
        assert rule["summary"]
        assert rule["description"]
        assert rule["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert operations.count(f"### {rule['alert']}\n") == 1
        assert f"| `{rule['alert']}` | {rule['severity']} | {rule['for']} |" in observability
    assert sorted(re.findall(r"^### (SessionGateway\w+)", operations, re.MULTILINE)) == sorted(
        rule["alert"] for rule in rules()
    )
