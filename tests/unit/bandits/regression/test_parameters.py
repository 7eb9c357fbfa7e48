"""Specifications of regression policies that cannot be are refused, and the parameter is named."""

from typing import Any

import pytest

from bandits.errors import PolicyParameterError
from bandits.policy import PolicySpec
from bandits.registry import build_policy

COMMON: list[tuple[str, Any]] = [
    ("share", "some"),
    ("share", None),
    ("share", ["none"]),
    ("ridge", 0.0),
    ("ridge", "1"),
    ("shrinkage", -1.0),
    ("group_shrinkage", 0.0),
    ("group_shrinkage", True),
    ("default_propensity", 1.0),
    ("half_life_days", -1.0),
    ("epsilon", 0.0),
]
OWN: dict[str, list[tuple[str, Any]]] = {
    "linear_thompson": [("exploration", -0.1), ("draws", 7)],
    "logistic_thompson": [("exploration", 11.0), ("draws", 8.5)],
    "calibrated": [("exploration", True), ("trust", 0.0)],
    "apprentice": [("caution", -1.0), ("caution", True), ("trust", 0.0), ("draws", 7)],
    "lin_ucb": [("alpha", -1.0)],
    "squarecb": [("model", "tree"), ("gamma_scale", 0.0), ("gamma_exponent", 3.0)],
}
CASES = [(algorithm, *case) for algorithm, own in OWN.items() for case in (*COMMON, *own)]


@pytest.mark.parametrize(("algorithm", "name", "value"), CASES)
def test_a_parameter_out_of_range_is_refused_by_name(algorithm: str, name: str, value: Any) -> None:
    with pytest.raises(PolicyParameterError, match=f"^{name} must be") as refused:
        build_policy(PolicySpec("p", 1, algorithm, {name: value}))
    assert refused.value.field == f"parameters.{name}"


@pytest.mark.parametrize("algorithm", OWN)
def test_groups_are_refused_where_nothing_is_shared(algorithm: str) -> None:
    with pytest.raises(PolicyParameterError, match="groups share nothing") as refused:
        build_policy(PolicySpec("p", 1, algorithm, {"share": "none", "group_shrinkage": 2.0}))
    assert refused.value.field == "parameters.group_shrinkage"


@pytest.mark.parametrize("algorithm", OWN)
def test_an_unknown_parameter_is_refused_with_those_there_are(algorithm: str) -> None:
    with pytest.raises(PolicyParameterError, match=f"{algorithm} has no parameter 'lambda'; it has: .*ridge"):
        build_policy(PolicySpec("p", 1, algorithm, {"lambda": 1.0}))


@pytest.mark.parametrize("algorithm", OWN)
def test_the_defaults_are_parameters_that_can_be_given(algorithm: str) -> None:
    policy: Any = build_policy(PolicySpec("p", 1, algorithm))
    again: Any = build_policy(PolicySpec("p", 1, algorithm, dict(policy.parameters)))
    assert again.parameters == policy.parameters
    assert again.width == policy.width
