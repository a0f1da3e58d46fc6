"""Alert rules, their pages, and the dashboard: they speak of metrics that there are, and of each other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.metrics_page import documented

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
RUNBOOK = ROOT / "docs" / "runbook"
RULES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
PANELS: list[dict[str, Any]] = [
    panel for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"] if panel["type"] != "row"
]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
SERVICES = ("control_service", "metering_service", "tallygate/_server")
"""Folders of what a service logs."""
SECTIONS = ["## What it means", "## What to look at", "## What to do"]
METRIC = re.compile(r"\b(?:tallygate|process)_\w+")
LOGGED = re.compile(r"\blog line `(\w+)`(?: or `(\w+)`)?")
"""Lines of logs, as pages name them."""
OF_OTHERS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}
"""Metrics of every process, by the names that Prometheus's clients have for them."""


def unknown(query: str) -> set[str]:
    """The metrics in a query that no service tells; a histogram's have an ending, and only a histogram's."""
    metrics = documented()
    known = {name for name, (kind, _) in metrics.items() if kind != "histogram"} | OF_OTHERS
    known |= {
        f"{name}_{end}"
        for name, (kind, _) in metrics.items()
        if kind == "histogram"
        for end in ("bucket", "sum", "count")
    }
    return set(METRIC.findall(query)) - known


def test_an_unknown_metric_is_found() -> None:
    """Also the name of a histogram without an ending, and a counter without its own."""
    assert unknown("rate(tallygate_node_decisions[5m])") == {"tallygate_node_decisions"}
    assert unknown("tallygate_node_commit_size + tallygate_node_streams") == {"tallygate_node_commit_size"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_speaks_of_what_there_is(rule: dict[str, Any]) -> None:
    """Its metrics are told, and its page says what it means, what to look at, and what to do."""
    assert unknown(rule["expr"]) == set()
    page = (ROOT / rule["annotations"]["runbook"]).read_text()
    assert f"Alert: `{rule['alert']}`, {rule['labels']['severity']}." in page
    assert re.findall(r"^## .*", page, re.MULTILINE) == SECTIONS
    assert f"| `{rule['alert']}` | {rule['labels']['severity']} |" in (RUNBOOK / "README.md").read_text()


def test_the_lines_of_logs_that_pages_name_are_written() -> None:
    """Whoever greps for one at night finds it where it was written, and not nothing."""
    named = {
        (page.name, line)
        for page in RUNBOOK.glob("*.md")
        for found in LOGGED.findall(" ".join(page.read_text().split()))
        for line in found
        if line
    }
    assert ("control-lost.md", "outage_began") in named
    sources = [path.read_text() for service in SERVICES for path in (ROOT / service).rglob("*.py")]
    written = {line for source in sources for line in re.findall(r'_log\.\w+\(\s*"(\w+)"', source)}
    assert {(page, line) for page, line in named if line not in written} == set()


def test_every_page_is_of_an_alert() -> None:
    """None is left over from an alert that is gone."""
    assert {path.name for path in RUNBOOK.glob("*.md")} - {"README.md"} == {
        Path(rule["annotations"]["runbook"]).name for rule in RULES
    }


def test_every_alert_has_a_test() -> None:
    """One that sees it fire, and sees it silent before; `make check-alerts` runs them."""
    tests = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())["tests"]
    fired = {
        tested["alertname"]: [bool(each["exp_alerts"]) for each in test["alert_rule_test"]]
        for test in tests
        for tested in test["alert_rule_test"]
    }
    assert fired == {rule["alert"]: [False, True] for rule in RULES}


@pytest.mark.parametrize("query", QUERIES)
def test_the_dashboard_asks_for_what_there_is(query: str) -> None:
    """A panel that names no metric of a service shows nothing, and nobody knows why."""
    assert unknown(query) == set()
    assert METRIC.search(query)


def test_panels_lie_side_by_side() -> None:
    """Each has a number of its own, a title of its own, and a place where no other one is."""
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    places = [
        (x, y)
        for panel in PANELS
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(places)) == len(places)
