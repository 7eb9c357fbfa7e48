"""When the default policy needs a new version, and where that may decide."""

from dataclasses import replace

import pytest

from bandits.algorithms.calibrated import CalibratedPolicy
from bandits.features import Feature
from bandits.policy import PolicyKey, PolicySpec
from bandits.registry import BUILT_IN, build_policy
from decisioning.model.deployment import Canary, Deployment
from decisioning.model.entities import Placement
from decisioning.rollout.defaults import (
    DEFAULT_NAME,
    awaits,
    default_spec,
    new_version_reason,
    superseded,
    uses_default,
)

TIME = Feature("time", "time_of_day")
AGE = Feature("customer-age", "numeric", "customer.age")
KNOWN_AGE = replace(AGE, low=18, high=90)
REGION = Feature("customer-region", "category", "customer.region", values=("north", "south"))
HOME = Placement("home", "web")
NOWHERE = Deployment("home")


def test_a_version_is_needed_when_there_is_more_to_learn_from() -> None:
    assert new_version_reason((), (TIME,)) is None
    assert new_version_reason((), (AGE, TIME)) == "it can learn from customer.age as well"
    assert new_version_reason((AGE,), (AGE, REGION)) == "it can learn from customer.region as well"
    many = [replace(AGE, name=f"n{number}", path=f"customer.n{number}") for number in range(8)]
    assert str(new_version_reason((), many)).endswith("customer.n4 and 3 more as well")


def test_a_version_is_needed_when_usual_values_are_known_and_not_when_they_move() -> None:
    hashed = replace(REGION, values=(), buckets=8)
    assert new_version_reason((AGE, REGION), (KNOWN_AGE, REGION)) is not None
    assert new_version_reason((hashed,), (REGION,)) is not None
    assert new_version_reason((KNOWN_AGE, REGION), (replace(KNOWN_AGE, high=95), hashed)) is None
    assert new_version_reason((KNOWN_AGE, REGION), (REGION,)) is None


def test_a_placement_follows_unless_somebody_has_decided_otherwise() -> None:
    assert HOME.policy == DEFAULT_NAME
    key = PolicyKey("calibrated@3")
    assert awaits(HOME, NOWHERE, key)
    assert awaits(HOME, replace(NOWHERE, champion="calibrated@2", was=("calibrated@1",)), key)
    assert not awaits(HOME, replace(NOWHERE, champion="calibrated@3", was=("calibrated@1",)), key)
    assert uses_default(HOME, replace(NOWHERE, champion="calibrated@3"))


@pytest.mark.parametrize(
    ("placement", "deployment"),
    [
        (replace(HOME, policy="thompson"), NOWHERE),
        (HOME, replace(NOWHERE, champion="spring@1")),
        (HOME, replace(NOWHERE, canary=Canary("spring@1", 0.1, 0))),
        (HOME, replace(NOWHERE, champion="calibrated@1", was=("calibrated@2",))),
    ],
)
def test_a_placement_that_somebody_steers_is_left_alone(placement: Placement, deployment: Deployment) -> None:
    assert not uses_default(placement, deployment)
    assert not awaits(placement, deployment, "calibrated@3")


def test_the_newest_versions_and_the_one_before_are_kept() -> None:
    keys = [PolicyKey(f"calibrated@{version}") for version in (10, 2, 9)]
    assert superseded(keys) == ["calibrated@2"]
    assert superseded(keys[:2]) == superseded([]) == []


def test_the_default_is_the_built_in_policy_with_features() -> None:
    assert DEFAULT_NAME in {spec.name for spec in BUILT_IN}
    policy = build_policy(default_spec((KNOWN_AGE, REGION), 2))
    assert {"customer.age", "customer.region"} == policy.encoder.paths


def test_new_versions_of_the_default_pool_the_evidence_for_features() -> None:
    policy = build_policy(default_spec((KNOWN_AGE, REGION), 2))
    assert isinstance(policy, CalibratedPolicy)
    assert policy.pool is not None


@pytest.mark.parametrize(
    "older",
    [
        PolicySpec("calibrated", 1, "calibrated"),
        PolicySpec("calibrated", 2, "calibrated", {"pool_evidence": True}, (REGION,), auto=True),
    ],
)
def test_new_versions_of_the_default_learn_by_group_and_older_ones_do_not(older: PolicySpec) -> None:
    new, old = build_policy(default_spec((KNOWN_AGE, REGION), 2)), build_policy(older)
    assert isinstance(new, CalibratedPolicy)
    assert isinstance(old, CalibratedPolicy)
    assert (old.by_group, new.by_group) == (False, True)
