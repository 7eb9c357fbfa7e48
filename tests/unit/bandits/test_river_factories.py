"""The pipelines that come with nextbest: the inputs that their transformers make, and that all of them learn."""

import math

import pytest

from bandits import river_factories
from bandits.river_factories import LogOdds, OfferInteractions


def test_the_propensity_becomes_log_odds() -> None:
    assert LogOdds().transform_one({"age": 1.0}) == {"age": 1.0}
    assert LogOdds().transform_one({"age": 1.0, "propensity": 0.5}) == {"age": 1.0, "propensity": 0.0}
    for certain in (0.0, 1.0):
        assert math.isfinite(LogOdds().transform_one({"propensity": certain})["propensity"])


def test_everything_is_there_once_for_all_offers_and_once_for_this_one() -> None:
    assert OfferInteractions().transform_one({"age": 0.5, "region": "north", "offer": "7"}) == {
        "age": 0.5,
        "region=north": 1.0,
        "offer=7": 1.0,
        "age|7": 0.5,
        "region=north|7": 1.0,
    }


@pytest.mark.parametrize("name", ["logistic", "hoeffding_tree", "adaptive_random_forest"])
def test_classifiers_learn_the_chance_of_acceptance(name: str) -> None:
    model = getattr(river_factories, name)()
    for k in range(600):
        model.learn_one({"age": float(k % 2), "offer": "1", "propensity": 0.3}, k % 2 == 0)
    chances = [
        model.predict_proba_one({"age": age, "offer": "1", "propensity": 0.3})[True] for age in (0.0, 1.0)
    ]
    assert chances[0] > 0.8 > 0.2 > chances[1]


@pytest.mark.parametrize("name", ["linear", "hoeffding_tree_regressor"])
def test_regressors_learn_the_reward(name: str) -> None:
    model = getattr(river_factories, name)()
    for k in range(600):
        model.learn_one({"age": float(k % 2), "offer": "1"}, 0.9 - 0.8 * (k % 2))
    found = [model.predict_one({"age": age, "offer": "1"}) for age in (0.0, 1.0)]
    assert found == pytest.approx([0.9, 0.1], abs=0.05)
