"""The dashboard and the alerts that are shipped use what processes serve, and the documentation names it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

import app.metrics

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"\bnextbest_[a-z_]+")
TARGET_LABELS = {"instance", "le"}
"""Labels of what Prometheus scrapes, and of buckets."""
DURATION = re.compile(r"\d+[smhd]")


def served() -> dict[str, set[str]]:
    """Map the names under which metrics are served to their labels, with those of a histogram's parts."""
    found: dict[str, set[str]] = {}
    for metric in vars(app.metrics).values():
        if isinstance(metric, MetricWrapperBase):
            labels = {{"job": "exported_job"}.get(label, label) for label in metric._labelnames}
            if isinstance(metric, Counter):
                found[f"{metric._name}_total"] = labels
            elif isinstance(metric, Histogram):
                found |= {f"{metric._name}{part}": labels for part in ("", "_bucket", "_sum", "_count")}
            else:
                found[metric._name] = labels
    return found


def dashboard() -> Any:
    return json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text(encoding="utf-8"))


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "deploy" / "prometheus-alerts.yml").read_text(encoding="utf-8"))
    assert document.keys() == {"groups"}
    assert all(group.keys() <= {"name", "interval", "rules"} for group in document["groups"])
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Yield expressions, each with the text that shows its labels."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]
    for rule in alerts():
        yield rule["expr"], str(rule["annotations"]).replace("$labels.", "")


def documented() -> dict[str, set[str]]:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(nextbest_[a-z_]+)` \|([^|]*)\|", text, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def test_the_documentation_names_all_metrics_with_their_labels() -> None:
    parts = ("_bucket", "_sum", "_count")
    expected = {
        name: {{"exported_job": "job"}.get(label, label) for label in labels}
        for name, labels in served().items()
        if not name.endswith(parts)
    }
    assert documented() == expected


@pytest.mark.parametrize(("expression", "shown"), list(expressions()), ids=lambda value: value[:50])
def test_expressions_use_metrics_and_labels_that_are_served(expression: str, shown: str) -> None:
    names = set(NAME.findall(re.sub(r'"[^"]*"', "", expression)))
    known = served()
    assert names <= known.keys()
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")
    labels = set().union(*(known[name] for name in names)) | TARGET_LABELS
    grouped = {
        label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")
    }
    matched = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression))
    assert grouped <= labels
    assert matched - {"job"} <= labels
    # What is shown must have been kept.
    used = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", shown))
    assert used <= (grouped or labels)


def test_alerts_are_rules_of_prometheus() -> None:
    rules = alerts()
    assert len({rule["alert"] for rule in rules}) == len(rules) > 10
    for rule in rules:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert DURATION.fullmatch(rule.get("for", "1m"))
        assert rule["labels"]["severity"] in ("page", "ticket", "info")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_the_dashboard_is_one_of_grafana() -> None:
    board = dashboard()
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time"} <= board.keys()
    assert [variable["type"] for variable in board["templating"]["list"]] == ["datasource"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    places = set()
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        places.add((place["x"], place["y"]))
        assert [target["refId"] for target in panel["targets"]] == [
            chr(ord("A") + at) for at in range(len(panel["targets"]))
        ]
    assert len(places) == len(ids)


def test_each_metric_is_shown_on_the_dashboard() -> None:
    shown = {
        name for panel in dashboard()["panels"] for t in panel["targets"] for name in NAME.findall(t["expr"])
    }
    bases = {name.removesuffix("_bucket") for name in shown}
    assert bases == documented().keys()
