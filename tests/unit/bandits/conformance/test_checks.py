"""Every registered policy keeps all laws."""

import pytest

from bandits.conformance.checks import Check, check, checks_for
from bandits.features import Feature
from bandits.policy import Policy, PolicySpec
from bandits.registry import ALGORITHMS, BUILT_IN, build_policy
from tests.support.bandits_pooled import PooledPolicy
from tests.support.onnx_models import logistic_file, text_of

FEATURES = (
    Feature("age", "numeric", "customer.age", low=18.0, high=99.0),
    Feature("balance", "numeric", "customer.balance", default=0.0),
    Feature("segment", "category", "customer.segment", values=("gold", "silver")),
    Feature("time", "time_of_day"),
)
WITH_PROPENSITY = (*FEATURES[:2], Feature("mart", "propensity"))
RIVER_FEATURES = (
    Feature("age", "numeric", "customer.age", low=0.0, high=100.0),
    Feature("region", "category", "customer.region", values=("north", "south")),
    Feature("topics", "interests", "customer.topics", topics=("sports", "music")),
)
OTHER_PARAMETERS = (
    PolicySpec("weak-prior", 2, "thompson", {"strength": 0.1, "default_propensity": 0.9999}),
    PolicySpec("never-forgets", 3, "thompson", {"half_life_days": 0, "draws": 8}),
    PolicySpec("always-explores", 4, "thompson", {"epsilon": 1.0, "half_life_days": 1.0}),
    PolicySpec("bold", 1, "ucb"),
    PolicySpec("certain", 2, "ucb", {"exploration": 0.0, "half_life_days": 0.0, "strength": 0.1}),
    PolicySpec("greedy", 1, "epsilon_greedy"),
    PolicySpec("linear", 1, "linear_thompson"),
    PolicySpec("linear-apart", 2, "linear_thompson", {"share": "none", "half_life_days": 1.0, "draws": 8}),
    PolicySpec("logistic", 1, "logistic_thompson"),
    PolicySpec("logistic-held", 2, "logistic_thompson", {"share": "all", "exploration": 2.0}),
    PolicySpec("bounds", 1, "lin_ucb"),
    PolicySpec("bounds-apart", 2, "lin_ucb", {"share": "none", "alpha": 0.0}),
    PolicySpec("gaps", 1, "squarecb"),
    PolicySpec("linear-gaps", 2, "squarecb", {"model": "linear", "gamma_exponent": 2.0, "half_life_days": 0}),
    PolicySpec(
        "stream", 1, "river", {"factory": "bandits.river_factories:logistic", "explore": "inverse_gap"}
    ),
    PolicySpec("tree", 1, "river", {"factory": "bandits.river_factories:hoeffding_tree"}),
    PolicySpec(
        "line",
        1,
        "river",
        {"factory": "bandits.river_factories:linear", "inputs": "both"},
        RIVER_FEATURES,
        "value",
    ),
    PolicySpec("file", 1, "onnx", {"model": text_of(logistic_file([3.0]))}, (Feature("mart", "propensity"),)),
    PolicySpec("apprentice", 1, "apprentice"),
    PolicySpec("apprentice-alone", 2, "apprentice", {"half_life_days": 0, "caution": 1e6, "share": "none"}),
    PolicySpec("calibrated-apart", 2, "calibrated", {"share": "none", "default_propensity": 0.9}),
)
WITH_FEATURES = (
    PolicySpec("linear", 3, "linear_thompson", {}, WITH_PROPENSITY),
    PolicySpec("logistic", 3, "logistic_thompson", {"half_life_days": 3.0}, FEATURES),
    PolicySpec("logistic-apart", 3, "logistic_thompson", {"share": "none"}, WITH_PROPENSITY),
    PolicySpec("bounds", 3, "lin_ucb", {"share": "all"}, FEATURES),
    PolicySpec("gaps", 3, "squarecb", {}, WITH_PROPENSITY),
    PolicySpec("calibrated", 3, "calibrated", {}, FEATURES),
    PolicySpec("calibrated-auto", 3, "calibrated", {}, FEATURES, auto=True),
    PolicySpec("calibrated-pooled", 3, "calibrated", {"pool_evidence": True}, FEATURES, auto=True),
    PolicySpec(
        "calibrated-weighed",
        3,
        "calibrated",
        {"pool_evidence": True, "evidence_precision": 4.0, "group_shrinkage": 4.0},
        FEATURES,
        auto=True,
    ),
    PolicySpec("logistic-grouped", 3, "logistic_thompson", {"group_shrinkage": 0.5}, WITH_PROPENSITY),
    PolicySpec("bounds-grouped", 3, "lin_ucb", {"share": "all", "group_shrinkage": 3.0}, FEATURES),
    PolicySpec(
        "calibrated-grouped",
        3,
        "calibrated",
        {"pool_evidence": True, "group_shrinkage": 2.0, "half_life_days": 3.0},
        FEATURES,
        auto=True,
    ),
    PolicySpec("apprentice-grouped", 3, "apprentice", {"group_shrinkage": 2.0}, FEATURES),
    PolicySpec("apprentice", 3, "apprentice", {"half_life_days": 3.0}, FEATURES),
    PolicySpec("apprentice-rash", 4, "apprentice", {"caution": 0.5, "epsilon": 0.1}, WITH_PROPENSITY),
)
CASES = [
    (spec, law)
    for spec in (*BUILT_IN, *OTHER_PARAMETERS, *WITH_FEATURES)
    for law in checks_for(build_policy(spec))
]


@pytest.mark.parametrize(("spec", "law"), CASES, ids=[f"{spec.key}-{law.__name__}" for spec, law in CASES])
def test_law(spec: PolicySpec, law: Check) -> None:
    law(build_policy(spec))


def test_a_policy_that_shares_keeps_them_too() -> None:
    check(PooledPolicy(PolicySpec("pooled", 1, "pooled")))


def test_every_algorithm_is_checked() -> None:
    assert {spec.algorithm for spec, _ in CASES} == set(ALGORITHMS)


def test_laws_are_named_and_stated() -> None:
    laws = list(checks_for(build_policy(BUILT_IN[0])))
    names = [law.__name__ for law in laws]
    assert len(names) == len(set(names)) >= 12
    assert all(law.__doc__ for law in laws)


def test_check_runs_all_of_them() -> None:
    policy: Policy = build_policy(BUILT_IN[1])
    check(policy)
