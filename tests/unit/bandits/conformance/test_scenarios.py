"""The scenarios that policies are checked in: the cases they cover, and fingerprints that tell all differences."""

from dataclasses import replace

import numpy as np

from bandits.conformance.scenarios import availability_masks, fingerprint, make_scenario, make_scenarios
from bandits.policy import PolicySpec
from bandits.registry import build_policy

POLICY = build_policy(PolicySpec("t", 1, "thompson"))


def test_scenarios_are_the_same_every_time_and_cover_the_borders() -> None:
    first, second = list(make_scenarios(POLICY)), list(make_scenarios(POLICY))
    assert fingerprint(first) == fingerprint(second)
    names = [scenario.name for scenario in first]
    assert len(set(names)) == len(names) == 14
    by_name = dict(zip(names, first, strict=True))
    assert np.isnan(by_name["no priors"].candidates.base_propensity).all()
    assert not by_name["all weights zero"].candidates.weight.any()
    assert not by_name["no evidence"].sums.own.any()
    assert (by_name["much evidence"].sums.own[:, 0] > 0).all()


def test_rows_of_a_scenario_keep_sums_and_candidates_together() -> None:
    scenario = make_scenario(POLICY, 5)
    part = scenario.rows(np.array([3, 1]))
    assert part.offers.tolist() == scenario.offers[[3, 1]].tolist() == part.candidates.offers.tolist()
    assert part.sums.own.tolist() == scenario.sums.own[[3, 1]].tolist()
    assert part.candidates.weight.tolist() == scenario.candidates.weight[[3, 1]].tolist()


def test_every_mask_leaves_something_to_choose() -> None:
    for n in (1, 2, 50):
        masks = list(availability_masks(n))
        assert all(mask.shape == (n,) and mask.any() for mask in masks)
        assert masks[0].all()


def test_fingerprints_tell_every_bit_and_type() -> None:
    scenario = make_scenario(POLICY, 3)
    weight = scenario.candidates.weight.copy()
    weight[0] = np.nextafter(weight[0], 2.0)
    other = replace(scenario, candidates=replace(scenario.candidates, weight=weight))
    assert fingerprint(other) != fingerprint(scenario)
    values = (0, 0.0, -0.0, False, "0", None, (0,), [0], {0}, {0: 0}, np.zeros(1), np.zeros(1, np.float32))
    prints = [fingerprint(value) for value in values]
    assert all(a != b for i, a in enumerate(prints) for b in prints[:i])
