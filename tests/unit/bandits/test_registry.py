"""Building policies from specifications, and refusing wrong ones by name."""

import math
from typing import Any

import pytest

from bandits.errors import BanditsError, PolicyParameterError, UnknownPolicy
from bandits.policy import PolicySpec
from bandits.registry import BUILT_IN, build_policy


def test_every_installation_has_these() -> None:
    assert [spec.key for spec in BUILT_IN] == ["thompson@1", "random@1", "propensity@1", "calibrated@1"]
    for spec in BUILT_IN:
        policy = build_policy(spec)
        assert (policy.name, policy.version) == (spec.name, spec.version)


def test_an_unknown_algorithm_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownPolicy, match=r"'magic'; there are: apprentice, .*, thompson"):
        build_policy(PolicySpec("x", 1, "magic", {}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strength", 0.0),
        ("strength", math.nan),
        ("strength", "20"),
        ("default_propensity", 0.0),
        ("default_propensity", 1.0),
        ("half_life_days", -1.0),
        ("half_life_days", math.inf),
        ("epsilon", 0.0),
        ("epsilon", 1.1),
        ("epsilon", True),
        ("epsilon", None),
        ("draws", 7),
        ("draws", 5000),
        ("draws", 100.5),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(PolicyParameterError, match=f"^{name} must be a (whole )?number"):
        build_policy(PolicySpec("x", 1, "thompson", {name: value}))


@pytest.mark.parametrize("algorithm", ["thompson", "random", "propensity"])
def test_an_unknown_parameter_is_refused_by_name(algorithm: str) -> None:
    with pytest.raises(PolicyParameterError, match=f"{algorithm} has no parameter 'epsylon'"):
        build_policy(PolicySpec("x", 1, algorithm, {"epsylon": 0.1}))


def test_errors_have_one_root() -> None:
    assert issubclass(UnknownPolicy, BanditsError)
    assert issubclass(PolicyParameterError, BanditsError)
