"""Every registered policy keeps all laws."""

import pytest

from bandits.checks import Check, check, checks_for
from bandits.policy import Policy, PolicySpec
from bandits.registry import ALGORITHMS, BUILT_IN, build
from tests.unit.bandits.pooled import PooledPolicy

OTHER_PARAMETERS = (
    PolicySpec("weak-prior", 2, "thompson", {"strength": 0.1, "default_propensity": 0.9999}),
    PolicySpec("never-forgets", 3, "thompson", {"half_life_days": 0, "draws": 8}),
    PolicySpec("always-explores", 4, "thompson", {"epsilon": 1.0, "half_life_days": 1.0}),
)
CASES = [(spec, law) for spec in (*BUILT_IN, *OTHER_PARAMETERS) for law in checks_for(build(spec))]


@pytest.mark.parametrize(("spec", "law"), CASES, ids=[f"{spec.key}-{law.__name__}" for spec, law in CASES])
def test_law(spec: PolicySpec, law: Check) -> None:
    law(build(spec))


def test_a_policy_that_shares_keeps_them_too() -> None:
    check(PooledPolicy(PolicySpec("pooled", 1, "pooled")))


def test_every_algorithm_is_checked() -> None:
    assert {spec.algorithm for spec in BUILT_IN} == set(ALGORITHMS)


def test_laws_are_named_and_stated() -> None:
    laws = list(checks_for(build(BUILT_IN[0])))
    names = [law.__name__ for law in laws]
    assert len(names) == len(set(names)) >= 12
    assert all(law.__doc__ for law in laws)


def test_check_runs_all_of_them() -> None:
    policy: Policy = build(BUILT_IN[1])
    check(policy)
