"""Hold-outs: what they withhold, and which are refused."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.catalog_check import check_entry
from decisioning.catalog.catalogue import build_catalogue
from decisioning.catalog.kind import TIMES
from decisioning.catalog.kinds import HOLDOUT
from decisioning.catalog.yaml_document import from_yaml
from decisioning.holdouts.holdout import Holdout, HoldoutEvent, check_holdout
from decisioning.reporting.holdout_report import FIGURES
from profiles.events.event_type import EventType

ORDER = EventType(
    "order", "Order", {"properties": {"amount": {"type": "number"}, "shop": {"type": "string"}}}
)
THINGS: dict[str, dict[str, Any]] = {"groups": {"notices": object()}, "event_types": {"order": ORDER}}


def test_only_offers_of_its_goal_that_are_not_exempt_are_withheld() -> None:
    everything = Holdout("all", 0.05, exempt_goals=("serve",), exempt_groups=("notices",))
    assert everything.withholds("grow", "cards")
    assert not everything.withholds("serve", "cards")
    assert not everything.withholds("grow", "notices")
    growth = Holdout("growth", 0.05, goal="grow")
    assert growth.withholds("grow", "cards")
    assert not growth.withholds("retain", "loans")


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"share": 0.0}, "share", "ends_at"),
        ({"share": 0.51}, "share", "at most 0.5"),
        ({"share": float("nan")}, "share", "at most 0.5"),
        ({"goal": "grow", "exempt_goals": ("grow",)}, "exempt_goals", "leaves nothing"),
        (
            {"exempt_goals": ("acquire", "grow", "retain", "serve")},
            "exempt_goals",
            "leaves nothing",
        ),
        ({"exempt_groups": ("notices", "none")}, "exempt_groups.1", "no group 'none'"),
        ({"events": (HoldoutEvent("churn"),)}, "events.0.event", "PUT /v1/event-types/churn"),
        ({"events": (HoldoutEvent("order", "amont"),)}, "events.0.property", "did you mean 'amount'"),
        ({"events": (HoldoutEvent("order", "shop"),)}, "events.0.property", "needs a number"),
        ({"events": (HoldoutEvent("order"),) * 2}, "events.1", "'order' is there twice"),
    ],
)
def test_what_is_not_right_is_named(fields: dict[str, Any], field: str, reason: str) -> None:
    found = list(check_holdout(replace(Holdout("x", 0.05), **fields), THINGS))
    assert [error.field for error in found] == [field]
    assert reason in str(found[0])


def test_what_is_right_is_taken() -> None:
    events = (HoldoutEvent("order"), HoldoutEvent("order", "amount"))
    right = Holdout("x", 0.5, exempt_groups=("notices",), events=events)
    assert list(check_holdout(right, THINGS)) == []
    assert [event.label() for event in events] == ["order", "order:amount"]


PAGE = (Path(__file__).resolve().parents[4] / "docs" / "holdout.md").read_text(encoding="utf-8")


def test_the_example_of_the_documentation_is_a_catalogue() -> None:
    (document,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    catalogue = build_catalogue(1, from_yaml(document, check_entry), {})
    assert catalogue.holdouts["no-contact"].events == (HoldoutEvent("order", "amount"), HoldoutEvent("churn"))
    assert catalogue.holdouts["no-retention"].goal == "retain"


def test_all_fields_figures_and_codes_are_documented() -> None:
    named = {
        name
        for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    body = {TIMES.get(field, field) for field in HOLDOUT.body_fields}
    assert body | {"changed", "few", "sample_ratio", "open"} <= named
    ends = ("_low", "_high", "_total")
    assert {figure for figure in FIGURES if not figure.endswith(ends)} <= named
