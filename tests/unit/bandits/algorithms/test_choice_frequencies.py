"""Every algorithm chooses as often as its probabilities say, in the first slot and in later ones.

The seeds are fixed, so every run sees the same draws; a score of 4 comes up by chance once in 30,000 runs.
"""

from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from bandits.conformance.scenarios import learned_arms, make_observations, make_scenario
from bandits.features import Feature
from bandits.policy import BoolArray, FloatArray, PolicySpec
from bandits.registry import ALGORITHMS, build_policy
from bandits.sampling import draw_slots
from tests.support.bandits_selection import chi_squared_score
from tests.support.onnx_models import logistic_file, text_of

DECISIONS = 6_000
AVAILABLE = np.array([True, True, True, False, True, True, True])
EXPLORING = sorted(name for name in ALGORITHMS if name != "propensity")
PARAMETERS: dict[str, dict[str, Any]] = {
    "random": {},
    "onnx": {"model": text_of(logistic_file([2.0])), "explore": "inverse_gap", "gamma": 3.0},
    "river": {"factory": "bandits.river_factories:logistic", "explore": "inverse_gap", "gamma": 3.0},
}
Slate = tuple[tuple[int, float], ...]


@lru_cache
def slates(algorithm: str) -> list[Slate]:
    """(index, probability) by slot, of many decisions in one situation."""
    parameters = PARAMETERS.get(algorithm, {"epsilon": 0.2})
    features = (Feature("mart", "propensity"),) if algorithm == "onnx" else ()
    policy = build_policy(PolicySpec(algorithm, 1, algorithm, parameters, features))
    candidates = make_scenario(policy, 7, seed=2).candidates
    seen = make_observations(policy, candidates.offers, 150, seed=1)
    sums = learned_arms(policy, seen).read(policy, candidates.offers, policy.decay.tick(seen[0][1]))
    exact = policy.selector(policy.prepare(sums), candidates)
    known: dict[bytes, FloatArray] = {}

    def distribution(available: BoolArray) -> FloatArray:
        if available.tobytes() not in known:
            known[available.tobytes()] = exact(available)
        return known[available.tobytes()]

    return [tuple(draw_slots(distribution, AVAILABLE, 3, f"decision-{i}")) for i in range(DECISIONS)]


@pytest.mark.parametrize("algorithm", EXPLORING)
def test_each_slot_is_filled_as_often_as_was_logged(algorithm: str) -> None:
    tested = 0
    for slot in range(3):
        cells: dict[tuple[int, ...], Counter[int]] = {}
        chance: dict[tuple[int, ...], dict[int, float]] = {}
        for slate in slates(algorithm):
            before = tuple(index for index, _ in slate[:slot])
            index, probability = slate[slot]
            cells.setdefault(before, Counter())[index] += 1
            assert chance.setdefault(before, {}).setdefault(index, probability) == probability
        for before, picked in cells.items():
            times = picked.total()
            if times < 300:
                continue
            assert set(picked) <= set(np.flatnonzero(AVAILABLE).tolist()) - set(before)
            expected = [times * chance[before][index] for index in picked]
            rest = times - sum(expected)  # what was never drawn there
            assert rest > -1e-6
            observed = [float(picked[index]) for index in picked]
            if rest > 1e-6:
                observed, expected = [*observed, 0.0], [*expected, rest]
            if len(observed) > 2:
                assert abs(chi_squared_score(observed, expected)) < 4, (slot, before)
            tested += 1
    assert tested >= 3


@pytest.mark.parametrize("algorithm", EXPLORING)
def test_a_wrong_probability_would_be_noticed(algorithm: str) -> None:
    first = Counter(slate[0][0] for slate in slates(algorithm))
    chance = {slate[0][0]: slate[0][1] for slate in slates(algorithm)}
    likeliest, *_, rarest = sorted(chance, key=lambda index: -chance[index])
    chance[likeliest] -= 0.02
    chance[rarest] += 0.02
    observed, expected = [float(first[i]) for i in chance], [DECISIONS * chance[i] for i in chance]
    assert chi_squared_score(observed, expected) > 4
