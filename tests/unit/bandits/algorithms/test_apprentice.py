"""`apprentice`: knows the caller's choices as a plain model of them does, stays with them, and departs on evidence."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from bandits.algorithms.apprentice import (
    QUANTILE_COUNT,
    ApprenticePolicy,
    imitates_caller,
    row_of_highest,
    share_of_pairs_above,
)
from bandits.algorithms.imitation import SHRINKAGE, VARIANCE_FLOOR
from bandits.conformance.scenarios import learned_arms, make_observations, make_scenario
from bandits.features import Feature
from bandits.policy import BoolArray, Candidates, FloatArray, Observation, Policy, PolicySpec, Sums
from bandits.registry import ALGORITHMS, build_policy
from benchmarks.apprentice import Learner, Town, run_apprentice_mode, run_life
from tests.support.bandits_learning_world import asking, learned
from tests.support.bandits_plain_regression import Seen

FEATURES = (
    Feature("age", "numeric", "customer.age", low=0.0, high=100.0),
    Feature("region", "category", "customer.region", values=("north", "south")),
)
OFFERS = [1, 2, 3, 4]
NONE = math.nan
EVERYTHING = np.ones(len(OFFERS), dtype=bool)


def apprentice(features: tuple[Feature, ...] = FEATURES, **parameters: Any) -> ApprenticePolicy:
    policy = build_policy(PolicySpec("a", 1, "apprentice", {"half_life_days": 0, **parameters}, features))
    assert isinstance(policy, ApprenticePolicy)
    return policy


def calibrated(**parameters: Any) -> Policy:
    return build_policy(PolicySpec("a", 1, "calibrated", {"half_life_days": 0, **parameters}, FEATURES))


def encoded(policy: Policy, age: float, region: str) -> FloatArray:
    return policy.encoder.encode({"customer.age": age, "customer.region": region}, 0)


def history(policy: Policy, count: int, *, seed: int = 0, by_caller: bool = True) -> list[Seen]:
    """Outcomes of the caller's choices: 1 for the young, 2 and 3 for the old of two regions; 4 it never chooses."""
    rng = np.random.default_rng(seed)
    seen = []
    for _ in range(count):
        age, region = float(rng.uniform(0, 100)), str(rng.choice(("north", "south")))
        offer = 1 if age < 40 else 2 if region == "north" else 3
        base_propensity = float(np.float32(rng.uniform(0.1, 0.5)))
        reward, weight = float(rng.random() < 0.3), 2.0 ** -float(rng.random())
        x = encoded(policy, age, region)
        seen.append(
            Seen(
                weight if policy.decay.half_life_s else 1.0,
                Observation(offer, reward, base_propensity, x, 0.3, by_caller=by_caller),
            )
        )
    return seen


def plain_score(seen: Sequence[Seen], offer: int, x: FloatArray) -> float:
    """The log density of a request among those that the caller chose an offer for, from all of them at once."""
    requests, weights = np.array([s.observation.x for s in seen]), np.array([s.age_weight for s in seen])
    spread = []
    for column in requests.T:
        mean = np.average(column, weights=weights)
        variance = (np.sum(weights * (column - mean) ** 2) + 1 / 64) / (weights.sum() + 1)
        spread.append(2.0 ** round(math.log2(max(variance, 2.0**-8))))
    own = np.array([s.observation.offer == offer for s in seen])
    n = weights[own].sum()
    mean = np.average(requests[own], axis=0, weights=weights[own])
    scatter = sum(w * np.outer(z - mean, z - mean) for z, w in zip(requests[own], weights[own], strict=True))
    covariance = (scatter + SHRINKAGE * np.diag(spread)) / (n + SHRINKAGE) + VARIANCE_FLOOR * np.diag(spread)
    covariance += np.eye(len(spread)) * len(spread) * 9 * 2.0**-21  # for rounding to 2 ** -20
    density = multivariate_normal(mean, covariance).logpdf(x)
    return float(math.log(n) + density + len(x) / 2 * math.log(2 * math.pi))


@pytest.mark.parametrize("count", [1, 5, 60, 600])
@pytest.mark.parametrize("half_life_days", [0.0, 30.0])
def test_scores_are_those_of_a_plain_model(count: int, half_life_days: float) -> None:
    policy = apprentice(half_life_days=half_life_days)
    seen = history(policy, count)
    others = history(policy, 100, seed=1, by_caller=False)  # of policies: they are no examples
    prepared = policy.prepare(learned(policy, [*seen, *others], OFFERS))
    chosen = {s.observation.offer for s in seen}
    assert prepared.caller_choice.chosen.tolist() == [offer in chosen for offer in OFFERS]
    for age, region in ((10.0, "north"), (70.0, "south"), (45.0, "west")):
        x = encoded(policy, age, region)
        found = policy.caller_model.scores(prepared.caller_choice, x)
        for k, offer in enumerate(OFFERS):
            expected = plain_score(seen, offer, x) if offer in chosen else -math.inf
            assert found[k] == pytest.approx(expected, rel=1e-3, abs=2e-2)


def test_without_features_it_is_what_the_caller_chooses_most() -> None:
    policy = apprentice(features=())
    seen = [Seen(1.0, Observation(o, 0.0, NONE, by_caller=True)) for o in (1, 2, 2, 3, 3, 3)]
    prepared = policy.prepare(learned(policy, seen, OFFERS))
    found = policy.caller_model.scores(prepared.caller_choice, np.zeros(0))
    assert found == pytest.approx([0.0, math.log(2), math.log(3), -math.inf])


def test_an_answer_teaches_both_models_and_a_policys_choice_one() -> None:
    policy, x = apprentice(), np.array([0.5, 0.0, 1.0, 0.0, 0.0, 0.0])
    assert policy.encoder.width == len(x)
    for by_caller in (True, False):
        found = policy.learn(Observation(1, 1.0, 0.2, x, 0.3, by_caller=by_caller))
        rewards, choice = np.split(found, [policy.learner.width])
        assert rewards.tolist() == calibrated().learn(Observation(1, 1.0, 0.2, x, 0.3)).tolist()
        z = np.array([1.0, *x])
        assert choice.tolist() == (by_caller * np.outer(z, z)[np.triu_indices(7)]).tolist()


def test_without_the_callers_choices_it_is_calibrated_bit_for_bit() -> None:
    ours, theirs = apprentice(), calibrated()
    seen = history(ours, 200, by_caller=False)
    mine, other = (p.prepare(learned(p, seen, OFFERS)) for p in (ours, theirs))
    request = asking(OFFERS, encoded(ours, 30.0, "north"), [0.1, 0.2, NONE, 0.3], [1.0, 2.0, 1.0, 0.5])
    assert (ours.propensities(mine, request) == theirs.propensities(other, request)).all()
    for available in (EVERYTHING, np.array([True, False, True, True])):
        p, q = ours.selector(mine, request)(available), theirs.selector(other, request)(available)
        assert p.tolist() == q.tolist()
    taught_too = ours.prepare(learned(ours, [*seen, *history(ours, 50)], OFFERS))
    only_4 = np.array([False, False, False, True])  # which the caller never chose
    assert ours.selector(taught_too, request)(only_4).tolist() == only_4.astype(float).tolist()


def decided(policy: ApprenticePolicy, prepared: Any, request: Candidates) -> tuple[int, int, float]:
    """Return the caller's likely choice, the best-looking offer, and the chance that it is better, by pairs of
    medians.
    """
    mean, deviation = policy.learner.predict(prepared.learner, request)
    z = norm.ppf((np.arange(500) + 0.5) / 500)
    score = 1 / (1 + np.exp(-(mean + np.outer(z, deviation)))) * request.weight
    best = int(np.argmax(1 / (1 + np.exp(-mean)) * request.weight))
    theirs = int(np.argmax(policy.caller_model.scores(prepared.caller_choice, request.x)))
    return theirs, best, float(np.mean(score[:, best][:, None] > score[:, theirs][None, :]))


@pytest.mark.parametrize("caution", [0.0, 1.5, 4.0, 50.0])
def test_it_stays_with_the_caller_as_far_as_nothing_is_known_to_be_better(caution: float) -> None:
    policy, free = apprentice(caution=caution, epsilon=0.08), calibrated(epsilon=0.08)
    rng = np.random.default_rng(2)
    seen = history(policy, 300)
    prepared, alone = (p.prepare(learned(p, seen, OFFERS)) for p in (policy, free))
    shares = set()
    for _ in range(40):
        weight = rng.uniform(0.2, 3.0, len(OFFERS))
        x = encoded(policy, float(rng.uniform(0, 100)), str(rng.choice(("north", "south"))))
        request = asking(OFFERS, x, rng.uniform(0.1, 0.5, len(OFFERS)), weight)
        theirs, best, q = decided(policy, prepared, request)
        share = 1.0 if theirs == best else min(1.0, caution * (1.0 - q))
        wins = free.selector(alone, request)(EVERYTHING)
        stays = np.full(4, 0.02) + 0.92 * (np.arange(4) == theirs)
        found = policy.selector(prepared, request)(EVERYTHING)
        assert found == pytest.approx(share * stays + (1.0 - share) * wins, abs=2e-3 * caution + 1e-9)
        shares.add(round(share, 1))
    assert len(shares) > (3 if 0 < caution < 50 else 1)


def test_how_sure_it_is_does_not_depend_on_how_much_it_explores() -> None:
    request = asking(OFFERS, encoded(apprentice(), 30.0, "north"), 0.3, [1.0, 1.0, 1.0, 1.6])
    found = []
    for exploration in (0.0, 0.35, 2.0):
        policy = apprentice(exploration=exploration)
        prepared = policy.prepare(learned(policy, history(policy, 300), OFFERS))
        found.append(policy.selector(prepared, request)(EVERYTHING)[0])
    assert min(found) > 0.1
    assert found == pytest.approx([found[0]] * 3, abs=0.05)


def test_the_share_of_pairs() -> None:
    rng = np.random.default_rng(3)
    one, other = np.sort(rng.integers(0, 20, QUANTILE_COUNT) * 1.0), np.sort(rng.integers(5, 25, 100) * 1.0)
    pairs = sum(a > b for a in one for b in other)
    assert share_of_pairs_above(one, other) == pairs / (QUANTILE_COUNT * 100)
    assert share_of_pairs_above(one, one) < 0.5 < 1 - share_of_pairs_above(one, one)


def test_of_equals_the_lowest_number_is_first_wherever_it_stands() -> None:
    offers, values = np.array([9, 4, 7, 2], dtype=np.uint32), np.array([1.0, 3.0, 3.0, 0.0])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        among: BoolArray = np.ones(4, dtype=bool)
        assert offers[order][row_of_highest(values[order], offers[order], among)] == 4
        assert offers[order][row_of_highest(values[order], offers[order], offers[order] != 4)] == 7


def test_equal_choices_of_the_caller_are_told_apart_by_number_alone() -> None:
    policy = apprentice(features=())
    seen = [Seen(1.0, Observation(o, 0.0, NONE, by_caller=True)) for o in (3, 2, 2, 3)]
    for offers in ([1, 2, 3], [3, 2, 1]):
        prepared = policy.prepare(learned(policy, seen, offers))
        found = policy.selector(prepared, asking(offers, []))(np.ones(3, dtype=bool))
        assert offers[int(np.argmax(found))] == 2


def test_what_is_not_available_is_not_what_the_caller_would_do() -> None:
    policy = apprentice(caution=1e6)
    prepared = policy.prepare(learned(policy, history(policy, 300), OFFERS))
    request = asking(OFFERS, encoded(policy, 20.0, "south"))
    distribution = policy.selector(prepared, request)
    assert np.argmax(distribution(EVERYTHING)) == 0
    assert np.argmax(distribution(np.array([False, True, True, True]))) == 2  # as for the others in the south


def test_a_caller_who_changes_is_followed() -> None:
    policy = apprentice(half_life_days=1.0)
    x = encoded(policy, 50.0, "north")

    def seen(offer: int, count: int, half_lives: float) -> list[Seen]:
        observation = Observation(offer, 0.0, NONE, x, by_caller=True)
        return [Seen(2.0**-half_lives, observation) for _ in range(count)]

    prepared = policy.prepare(learned(policy, [*seen(1, 400, 6.0), *seen(2, 20, 0.0)], OFFERS))
    assert np.argmax(policy.selector(prepared, asking(OFFERS, x))(EVERYTHING)) == 1


def test_it_says_that_it_imitates() -> None:
    for name in set(ALGORITHMS) - {"onnx"}:
        parameters = {"factory": "bandits.river_factories:logistic"} if name == "river" else {}
        assert imitates_caller(build_policy(PolicySpec("p", 1, name, parameters))) == (name == "apprentice")


def test_its_posterior_is_that_of_the_learner() -> None:
    policy = apprentice()
    sums = learned(policy, history(policy, 200), OFFERS)
    found = policy.posterior_summary(sums)
    assert found is not None
    assert found.observations.sum() == 200
    assert found.observations[3] == 0


def test_the_shared_arm_holds_all_choices() -> None:
    policy = apprentice()
    offers = np.arange(1, 5, dtype=np.uint32)
    seen = make_observations(policy, offers, 200, seed=5)
    sums: Sums = learned_arms(policy, seen).read(policy, offers, 0)
    counted = sum(one.by_caller for one, _ in seen)
    assert sums.shared[policy.learner.width] == sums.own[:, policy.learner.width].sum() == counted > 50


def test_imitation_goes_from_chance_to_the_callers_rule() -> None:
    """The table of the simulation has eight cells, whose borders on the age must be found."""
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        knows, found = run_apprentice_mode(
            Town("careless", seed), Learner("apprentice", {"caution": 1e6}), (1, 30, 600), 300, rng
        )
        assert found[1] < 0.6
        assert found[1] < found[30] < found[600]
        assert found[600] > 0.9
        assert knows == found  # with so much caution it does what it knows


def test_a_choice_between_two_others_is_not_hidden_by_them() -> None:
    policy, rng = apprentice(features=FEATURES[:1], caution=1e6), np.random.default_rng(6)

    def choice(age: float) -> int:
        return 1 + (age > 30) + (age > 60)

    ages = rng.uniform(0, 100, 600)
    seen = [
        Seen(
            1.0,
            Observation(choice(a), 0.0, NONE, policy.encoder.encode({"customer.age": a}, 0), 0.1, {}, True),
        )
        for a in ages.tolist()
    ]
    prepared = policy.prepare(learned(policy, seen, OFFERS))
    for age, offer in ((5.0, 1), (25.0, 1), (38.0, 2), (52.0, 2), (68.0, 3), (95.0, 3)):
        request = asking(OFFERS, policy.encoder.encode({"customer.age": age}, 0))
        assert OFFERS[int(np.argmax(policy.selector(prepared, request)(EVERYTHING)))] == offer


@pytest.mark.parametrize("seed", [1, 2])
def test_it_beats_a_caller_who_is_wrong_for_some(seed: int) -> None:
    """Acceptance is what is to be expected of the distributions, so there is no luck of draws in it."""
    life = run_life(
        "wrong for some", partial(Learner, "apprentice"), seed, choices=(1000,), phases=(300, 3000)
    )
    lost = 0.01 * life.caller[0] + 0.004  # epsilon, and what mistakes there may be
    assert life.policy[0] > life.caller[0] - lost
    assert life.policy[1] > life.caller[1] + 0.005


def test_a_good_caller_is_not_left_for_nothing() -> None:
    for seed in (1, 2):
        lives = {
            name: run_life("good", partial(Learner, name), seed, choices=(1000,), phases=(300,))
            for name in ("apprentice", "calibrated")
        }
        gained = {name: life.policy[0] - life.caller[0] for name, life in lives.items()}
        assert gained["apprentice"] > -0.01
        assert gained["apprentice"] > gained["calibrated"]


def test_scenarios_have_choices_of_the_caller() -> None:
    policy = apprentice()
    assert policy.prepare(make_scenario(policy, 20, seed=1).sums).caller_choice.chosen.any()
