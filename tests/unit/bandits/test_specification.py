"""Specifications as JSON: what is read, what is written back, and how each mistake is named."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bandits.errors import PolicyParameterError
from bandits.features import OPTIONS, Feature
from bandits.policy import PolicySpec
from bandits.registry import BUILT_IN
from bandits.specification import parse_spec, parse_stored_spec, spec_to_dict

LEAST = {"name": "mine", "version": 2, "algorithm": "thompson"}
EARNED = {**LEAST, "learn_from": "earned", "value_scale": 10.0, "loss_scale": 10.0}
FULL = """
name: contextual
version: 7
algorithm: linear_thompson
description: Who calls, and why.
parameters: {epsilon: 0.02, half_life_days: 30}
learn_from: value
value_scale: 250
reward_window_s: 86400
placements: [home, call-centre]
learn_since_ms: 1700000000000
features:
  - {name: age, kind: numeric, path: customer.age, low: 18, high: 90}
  - {name: income, kind: numeric, path: customer.income, default: 2500.5}
  - {name: tier, kind: category, path: customer.tier, values: [gold, 1, true, 2.5]}
  - {name: city, kind: category, path: customer.city, buckets: 8}
  - {name: where, kind: cross, of: [tier, city], buckets: 4}
  - {name: hour, kind: time_of_day, time_zone: Europe/Berlin, harmonics: 2}
  - {name: day, kind: weekday}
  - {name: likes, kind: interests, path: customer.interests, topics: [sport, travel]}
  - {name: p, kind: propensity}
"""


def test_the_least_that_must_be_said() -> None:
    assert parse_spec(LEAST) == PolicySpec("mine", 2, "thompson")
    assert parse_spec({"algorithm": "random"}, "mine", 3) == PolicySpec("mine", 3, "random")
    assert parse_spec(LEAST, "mine", 2) == parse_spec(LEAST)
    assert spec_to_dict(parse_spec(LEAST)) == LEAST


def test_everything_that_can_be_said() -> None:
    spec = parse_spec(yaml.safe_load(FULL))
    assert spec.features[:4] == (
        Feature("age", "numeric", "customer.age", low=18, high=90),
        Feature("income", "numeric", "customer.income", default=2500.5),
        Feature("tier", "category", "customer.tier", values=("gold", "1", "true", "2.5")),
        Feature("city", "category", "customer.city", buckets=8),
    )
    assert spec.features[4:] == (
        Feature("where", "cross", of=("tier", "city"), buckets=4),
        Feature("hour", "time_of_day", time_zone="Europe/Berlin", harmonics=2),
        Feature("day", "weekday"),
        Feature("likes", "interests", "customer.interests", topics=("sport", "travel")),
        Feature("p", "propensity"),
    )
    assert (spec.key, spec.learn_from, spec.value_scale) == ("contextual@7", "value", 250.0)
    assert (spec.reward_window_s, spec.placements) == (86_400, ("home", "call-centre"))
    assert (spec.learn_since_ms, spec.description) == (1_700_000_000_000, "Who calls, and why.")


@pytest.mark.parametrize("spec", [*BUILT_IN, parse_spec(yaml.safe_load(FULL)), parse_spec(LEAST)])
def test_what_is_written_is_read_as_the_same(spec: PolicySpec) -> None:
    body = json.loads(json.dumps(spec_to_dict(spec)))
    assert parse_spec(body) == spec
    assert spec_to_dict(parse_spec(body)) == body


def test_defaults_are_left_out() -> None:
    body = spec_to_dict(parse_spec({**LEAST, "learn_from": "acceptance", "parameters": {}, "features": []}))
    assert body == LEAST
    day = {"name": "day", "kind": "weekday", "time_zone": "UTC"}
    spec = parse_spec({**LEAST, "algorithm": "linear_thompson", "features": [day]})
    assert spec_to_dict(spec)["features"] == [{"name": "day", "kind": "weekday"}]


@pytest.mark.parametrize(
    ("earned", "reward"), [(-20.0, 0.0), (-10.0, 0.0), (0.0, 0.5), (0.3, 0.515), (10.0, 1.0), (11.0, 1.0)]
)
def test_what_is_earned_becomes_a_reward_between_0_and_1(earned: float, reward: float) -> None:
    spec = parse_spec(EARNED)
    assert spec.reward_of(earned) == pytest.approx(reward)
    assert spec_to_dict(spec) == EARNED


def test_losses_count_as_nothing_unless_their_scale_is_given() -> None:
    spec = parse_spec({**LEAST, "learn_from": "earned", "value_scale": 2})
    assert [spec.reward_of(earned) for earned in (-5.0, 0.0, 1.0, 3.0)] == [0.0, 0.0, 0.5, 1.0]


def test_a_value_scale_of_1_is_written_for_who_learns_from_value() -> None:
    said = {**LEAST, "learn_from": "value", "value_scale": 1.0}
    assert spec_to_dict(parse_spec(said)) == said


def test_what_was_accepted_without_a_value_scale_is_still_read() -> None:
    spec = parse_stored_spec({**LEAST, "learn_from": "value"})
    assert (spec.learn_from, spec.value_scale) == ("value", 1.0)
    assert parse_stored_spec({**LEAST, "learn_from": "value", "value_scale": 250}).value_scale == 250.0
    assert parse_stored_spec(LEAST) == parse_spec(LEAST)


def test_a_specification_does_not_change_with_what_it_was_read_from() -> None:
    given: dict[str, Any] = {**LEAST, "parameters": {"epsilon": 0.1}}
    spec = parse_spec(given)
    given["parameters"]["epsilon"] = 0.9
    assert spec.parameters == {"epsilon": 0.1}
    spec_to_dict(spec)["parameters"]["epsilon"] = 0.9
    assert spec.parameters == {"epsilon": 0.1}


def with_feature(**said: Any) -> dict[str, Any]:
    return {**LEAST, "algorithm": "linear_thompson", "features": [{"name": "day", "kind": "weekday"}, said]}


AGE = {"name": "age", "kind": "numeric", "path": "customer.age"}
endless: list[Any] = []
endless.append(endless)


@pytest.mark.parametrize(
    ("mapping", "field", "message"),
    [
        ([], "", "an object with fields"),
        ({**LEAST, "algorythm": "x"}, "algorythm", "did you mean 'algorithm'"),
        ({"version": 1, "algorithm": "random"}, "name", "name is missing"),
        ({"name": "x", "algorithm": "random"}, "version", "version is missing"),
        ({"name": "x", "version": 1}, "algorithm", "algorithm is missing"),
        ({**LEAST, "name": "Mine"}, "name", "small letters.*not 'Mine'"),
        ({**LEAST, "name": "x" * 65}, "name", "at most 64"),
        ({**LEAST, "name": "x@1"}, "name", "small letters"),
        ({**LEAST, "name": None}, "name", "small letters"),
        ({**LEAST, "version": 0}, "version", "from 1 to 1000000"),
        ({**LEAST, "version": 1_000_001}, "version", "from 1 to 1000000"),
        ({**LEAST, "version": 1.0}, "version", "whole number"),
        ({**LEAST, "version": True}, "version", "whole number"),
        ({**LEAST, "version": "1"}, "version", "whole number"),
        ({**LEAST, "algorithm": "thomson"}, "algorithm", "did you mean 'thompson'"),
        ({**LEAST, "algorithm": "os:system"}, "algorithm", "no algorithm 'os:system'"),
        ({**LEAST, "algorithm": ["thompson"]}, "algorithm", "a text"),
        ({**LEAST, "parameters": [1]}, "parameters", "an object"),
        ({**LEAST, "parameters": {1: 2}}, "parameters", "a text"),
        ({**LEAST, "parameters": {"epsylon": 0.1}}, "parameters.epsylon", "did you mean 'epsilon'"),
        ({**LEAST, "parameters": {"epsilon": 3}}, "parameters.epsilon", "between 0.0001 and 1"),
        ({**LEAST, "parameters": {"epsilon": math.nan}}, "parameters.epsilon", "finite"),
        ({**LEAST, "parameters": {"epsilon": "a\0b"}}, "parameters.epsilon", "plain JSON"),
        ({**LEAST, "parameters": {"epsilon": {1, 2}}}, "parameters.epsilon", "plain JSON"),
        ({**LEAST, "parameters": {"epsilon": endless}}, "parameters.epsilon", "plain JSON"),
        ({**LEAST, "parameters": {"draws": 10.5}}, "parameters.draws", "whole number"),
        ({**LEAST, "learn_from": "clicks"}, "learn_from", "acceptance, value"),
        ({**LEAST, "learn_from": "values"}, "learn_from", "did you mean 'value'"),
        ({**LEAST, "learn_from": []}, "learn_from", "acceptance, value"),
        ({**LEAST, "learn_from": "value"}, "value_scale", "missing: say the value that counts as 1"),
        ({**LEAST, "learn_from": "earned"}, "value_scale", "missing: say the value that counts as 1"),
        ({**LEAST, "loss_scale": 1}, "loss_scale", "learn from earned"),
        ({**EARNED, "loss_scale": -1}, "loss_scale", "a number from 0"),
        ({**EARNED, "reward_window_s": 60}, "reward_window_s", "the placement's window"),
        ({**LEAST, "value_scale": 0}, "value_scale", "above 0"),
        ({**LEAST, "value_scale": math.inf}, "value_scale", "above 0"),
        ({**LEAST, "value_scale": True}, "value_scale", "above 0"),
        ({**LEAST, "reward_window_s": 0}, "reward_window_s", "whole number from 1"),
        ({**LEAST, "reward_window_s": 60.5}, "reward_window_s", "whole number from 1"),
        ({**LEAST, "placements": "home"}, "placements", "a list"),
        ({**LEAST, "placements": ["home", ""]}, "placements[1]", "a text"),
        ({**LEAST, "placements": ["home", "home"]}, "placements", "once"),
        ({**LEAST, "placements": ["p"] * 101}, "placements", "at most 100"),
        ({**LEAST, "learn_since_ms": -1}, "learn_since_ms", "from 0"),
        ({**LEAST, "description": 5}, "description", "a text"),
        ({**LEAST, "description": "x" * 2001}, "description", "up to 2000"),
        ({**LEAST, "description": "\ud800"}, "description", "a text"),
        ({**LEAST, "features": {}}, "features", "a list of objects"),
        ({**LEAST, "features": [AGE]}, "features", "thompson takes no features"),
        (with_feature(), "features[1].kind", "kind is missing"),
        (with_feature(kind="weekday"), "features[1].name", "name is missing"),
        (with_feature(**{**AGE, "kind": "numbers"}), "features[1].kind", "did you mean 'numeric'"),
        (with_feature(**{**AGE, "kind": []}), "features[1].kind", "kind is one of"),
        (with_feature(**AGE, lo=1), "features[1].lo", "a numeric feature has no 'lo'.*did you mean 'low'"),
        (with_feature(**AGE, buckets=4), "features[1].buckets", "a numeric feature has no 'buckets'"),
        (with_feature(**AGE, low="1", high=2), "features[1].low", "low is a number; not '1'"),
        (with_feature(**AGE, low=None), "features[1].low", "low is a number"),
        (with_feature(**AGE, low=2, high=1), "features[1].high", "above low"),
        (with_feature(**AGE, default=math.inf), "features[1].default", "a number"),
        (with_feature(**{**AGE, "path": "age"}), "features[1].path", "such as customer.age"),
        (with_feature(**{**AGE, "path": 7}), "features[1].path", "a text"),
        (with_feature(**{**AGE, "name": "day"}), "features[1].name", "another feature"),
        (with_feature(name="h", kind="time_of_day", harmonics=2.0), "features[1].harmonics", "1 or 2"),
        (with_feature(name="h", kind="time_of_day", time_zone=1), "features[1].time_zone", "a text"),
        (
            with_feature(name="c", kind="category", path="customer.c", values="ab"),
            "features[1].values",
            "a list",
        ),
        (
            with_feature(name="c", kind="category", path="customer.c", values=["a", None]),
            "features[1].values[1]",
            "a text, a number",
        ),
        (
            with_feature(name="c", kind="category", path="customer.c", values=["1", 1]),
            "features[1].values",
            "different",
        ),
        (with_feature(name="x", kind="cross", of=["day", "age"], buckets=4), "features[1].of", "no category"),
        ({**LEAST, "features": [AGE, 7]}, "features[1]", "an object with a name"),
    ],
)
def test_a_mistake_is_named_by_field_with_the_way_out(mapping: Any, field: str, message: str) -> None:
    with pytest.raises(PolicyParameterError, match=message) as caught:
        parse_spec(mapping)
    assert caught.value.field == field


def test_a_name_that_is_given_twice_must_be_the_same() -> None:
    for name, version, field in (("other", 2, "name"), ("mine", 3, "version")):
        with pytest.raises(PolicyParameterError, match="elsewhere: leave it out") as caught:
            parse_spec(LEAST, name, version)
        assert caught.value.field == field


def test_the_specification_of_the_documentation_has_every_kind_of_feature() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "features.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```", page, re.S | re.M)
    spec = parse_spec(yaml.safe_load(block))
    assert {feature.kind for feature in spec.features} == set(OPTIONS)
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", page, re.M)
    assert [kind for kind, _ in rows] == list(OPTIONS)
    for kind, said in rows:
        for option in OPTIONS[kind]:
            assert f"`{option}`" in said, (kind, option)


def test_auto_stands_for_features_that_are_frozen_in_the_specification() -> None:
    chosen = (Feature("customer-age", "numeric", "customer.age", low=18, high=90),)
    asked = {"name": "spring", "version": 3, "algorithm": "calibrated", "features": "auto"}
    spec = parse_spec(asked, auto_features=chosen)
    assert (spec.features, spec.auto) == (chosen, True)
    body = spec_to_dict(spec)
    assert body["auto"] is True
    assert body["features"] == [
        {"name": "customer-age", "kind": "numeric", "path": "customer.age", "low": 18, "high": 90}
    ]
    assert parse_stored_spec(body) == spec


def test_auto_is_refused_where_there_is_no_catalogue_to_choose_from() -> None:
    asked = {"name": "spring", "version": 3, "algorithm": "calibrated", "features": "auto"}
    with pytest.raises(PolicyParameterError, match="registered") as caught:
        parse_spec(asked)
    assert caught.value.field == "features"
