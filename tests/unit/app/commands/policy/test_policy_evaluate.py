"""`nextbest policies evaluate`: times and results as people write and read them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from app.commands.policy.policy_evaluate import _parse_time, evaluate_policy, result_lines

INTERVAL = {"value": 0.25, "low": 0.125, "high": 0.5}
RESULT: dict[str, Any] = {
    "policy": "spring",
    "version": 2,
    "placement": "home",
    "from": "2026-03-01",
    "to": "2026-03-02",
    "start": "cold",
    "slots": "first",
    "reward": "acceptance",
    "decisions": 90,
    "open": 5,
    "learned": 80,
    "us_per_decision": 12.6,
    "left_out": [{"reason": "caller", "slots": 7, "meaning": "the caller chose"}],
    "estimates": {
        **dict.fromkeys(("earned", "dr", "snips", "ips", "lift"), INTERVAL),
        **{"rows": 70, "effective_rows": 33.3, "mean_weight": 1.0, "largest_weight": 4.0, "agreement": 0.5},
    },
    "logged": [{"group": "champion", "policy": "a@1", "slots": 70, "earned": INTERVAL | {"low": None}}],
    "warnings": ["be careful"],
}


@pytest.mark.parametrize(
    ("text", "hour"),
    [("2026-03-01", 0), ("2026-03-01T08:00", 8), ("2026-03-01T08:00Z", 8), ("2026-03-01T08:00+02:00", 6)],
)
def test_a_time_without_a_zone_is_utc(text: str, hour: int) -> None:
    found = _parse_time(text, "--from")
    assert found == datetime(2026, 3, 1, hour, tzinfo=UTC)
    assert _parse_time(None, "--from") is None


def test_a_time_that_is_none_names_its_option() -> None:
    with pytest.raises(typer.BadParameter, match="'soon' is not a date") as caught:
        _parse_time("soon", "--to")
    assert caught.value.param_hint == "--to"


@pytest.mark.parametrize(("policy", "spec"), [(None, None), ("a@1", Path("a.yaml"))])
def test_one_policy_is_evaluated(policy: str | None, spec: Path | None) -> None:
    with pytest.raises(typer.BadParameter, match="either a policy"):
        evaluate_policy(policy, spec, "home", None, None)


def test_a_result_is_told_with_all_that_is_known() -> None:
    text = "\n".join(result_lines(RESULT))
    for part in (
        "spring@2 in home, cold start, acceptance a first slot",
        "0.2500  [0.1250, 0.5000]",
        "70 slots, worth 33 equally weighted ones",
        "agrees with 50.0% of what was shown",
        "7  caller: the caller chose",
        "13 µs a decision",
        "5 decisions with an open reward window",
        "! be careful",
    ):
        assert part in text
    assert "a slot" in result_lines(RESULT | {"slots": "all"})[0]
    assert text.count("[0.1250") == 5  # an interval that is not known is not made up


def test_nothing_is_told_of_what_is_not_known() -> None:
    empty = RESULT | {
        "open": 0,
        "estimates": None,
        "logged": [],
        "left_out": [],
        "us_per_decision": None,
        "warnings": [],
    }
    assert len(result_lines(empty)) == 2
    nothing = dict.fromkeys(("value", "low", "high"))
    unknown = RESULT | {"estimates": RESULT["estimates"] | {"dr": nothing}}
    assert sum(line.endswith(" nothing") for line in result_lines(unknown)) == 1
