"""The files under deploy/: they name what there is, and the alert rules do what they say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.observability.counters import Metrics, Statistics
from app.observability.prometheus import GAUGES, expose, metrics_registry
from app.settings import Settings
from tables.model.enums import CompletedBy, Status
from tables.model.events import Decision
from tests import operator_rules

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "batch-aggregator.json"
NAME = re.compile(r"\b(?:job:)?(?:batch_aggregator|process)_[a-z0-9_:]+")


@pytest.fixture(scope="module")
def exposed() -> set[str]:
    """The names of all series that a worker shows on which everything has happened once."""
    statistics = Statistics(Metrics(), lambda: 0.0)
    statistics.metrics.moved("source", "in", 1, 1)
    statistics.metrics.late_outcomes["batch-closed"] += 1
    decision = Decision(
        "b", 1, CompletedBy.TIMEOUT, Status.PARTIAL, 0.0, 5.0, 5.0, ("A", "B"), ("{}",), missing=("B",), failed=(),
        empty=(),
    )  # fmt: skip
    statistics.released(decision)
    registry = metrics_registry(statistics, dict.fromkeys(GAUGES, float), lambda: {"T": 1}, most_stations=1, build={})
    body, _ = expose(registry, None)
    return {line.split(b"{")[0].split(b" ")[0].decode() for line in body.splitlines() if not line.startswith(b"#")}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def targets() -> Iterator[str]:
    """Every expression of the dashboard."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (annotation["expr"] for annotation in dashboard["annotations"]["list"])
    yield from (
        variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"
    )


def test_alerts_and_dashboard_use_only_metrics_that_a_worker_shows(exposed: set[str]) -> None:
    known = exposed | {rule["record"] for rule in rules() if "record" in rule}
    used = {name for text in (*targets(), *(rule["expr"] for rule in rules())) for name in NAME.findall(text)}
    assert len(used) > 25
    assert used <= known


def test_every_alert_says_how_bad_it_is_what_it_is_and_what_to_do() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"critical", "warning"}
            assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}


def test_every_alert_leads_to_a_section_that_there_is() -> None:
    for rule in rules():
        if "alert" in rule:
            page, _, section = rule["annotations"]["runbook_url"].partition("#")
            headings = re.findall(r"^## (.+)$", (DEPLOY.parent / page).read_text(encoding="utf-8"), re.MULTILINE)
            assert section in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_operator_gets_the_same_rules() -> None:
    manifest = yaml.safe_load(operator_rules.COPY.read_text())
    assert manifest["kind"] == "PrometheusRule"
    assert manifest["spec"] == yaml.safe_load(RULES.read_text())


def test_a_stale_copy_of_the_rules_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(operator_rules, "COPY", DEPLOY / "prometheus" / "alerts.yml")
    monkeypatch.setattr(sys, "argv", ["operator_rules", "--check"])
    assert operator_rules.main() == 1
    assert capsys.readouterr().err == "deploy/prometheus/alerts.yml is stale: make rules\n"
    monkeypatch.setattr(operator_rules, "COPY", tmp_path / "rules.yaml")
    monkeypatch.setattr(sys, "argv", ["operator_rules", "--write"])
    assert operator_rules.main() == 0
    monkeypatch.setattr(sys, "argv", ["operator_rules", "--check"])
    assert operator_rules.main() == 0


def test_every_alert_is_tested() -> None:
    tests = yaml.safe_load((RULES.parent / "alerts.test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules() if "alert" in rule}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, which comes with Prometheus")
@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
        ["check", "config", "--syntax-only", "prometheus.yml"],
    ],
)
def test_promtool_finds_nothing_wrong(command: list[str]) -> None:
    ran = subprocess.run(["promtool", *command], cwd=RULES.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_dashboard_has_a_range_that_its_tiles_are_of_as_the_workers_page_has() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    (window,) = [variable for variable in dashboard["templating"]["list"] if variable["name"] == "window"]
    page = (DEPLOY.parent / "app" / "web" / "static" / "js" / "choices.js").read_text()
    ranges = json.loads(re.findall(r"const RANGES = (\[.*\]);", page)[0])
    assert set(ranges) <= set(window["query"].split(","))
    assert window["current"]["value"] in ranges
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    tiles = {panel["title"]: panel for panel in dashboard["panels"] if panel["type"] == "stat"}
    for title in ("Closed", "Closed by timeout", "Discarded", "Duration", "Late results", "Dead letters"):
        assert all("[$window]" in target["expr"] for target in tiles[title]["targets"]), title


def test_source_messages_that_wait_are_counted_without_the_applications_own_topics() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    (panel,) = [panel for panel in panels if panel["title"] == "Source messages waiting"]
    (pattern,) = re.findall(r'topic!~"([^"]+)"', panel["targets"][0]["expr"])
    settings = Settings()
    assert all(re.fullmatch(pattern, topic) for topic in settings.event_topics)
    assert not any(re.fullmatch(pattern, topic) for topic in settings.foreign_topics)


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
