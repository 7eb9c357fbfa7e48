"""``calibrated`` starts from the precomputed propensities, and corrects those that are off."""

import numpy as np
import pytest

from bandits.features import Feature
from bandits.policy import Candidates, FloatArray, Observation, Policy, PolicySpec, Sums
from bandits.registry import build_policy
from bandits.regression.design import logit, sigmoid
from tests.support.bandits_learning_world import NONE, asking

OFFERS = list(range(1, 9))


def calibrated(**parameters: float) -> Policy:
    return build_policy(PolicySpec("calibrated", 1, "calibrated", {"half_life_days": 0, **parameters}))


def cold(policy: Policy, offers: int = len(OFFERS)) -> Sums:
    return Sums(
        np.arange(1, offers + 1, dtype=np.uint32), np.zeros((offers, policy.width)), np.zeros(policy.width)
    )


def estimates(policy: Policy, sums: Sums, base_propensity: FloatArray | float) -> FloatArray:
    return policy.propensities(policy.prepare(sums), asking(sums.offers.tolist(), [], base_propensity))


def live(
    policy: Policy, shift: FloatArray, slope: float, rounds: int, offers: list[int] | None = None
) -> tuple[Sums, float]:
    """The arms after ``rounds`` decisions of the policy itself, and how often offer 1 was chosen in the last tenth.

    True log odds are ``slope x logit(propensity) + shift``, by offer.
    """
    rng = np.random.default_rng(0)
    sums, late = cold(policy), 0
    prepared = policy.prepare(sums)
    running = np.isin(sums.offers, offers or OFFERS)
    for t in range(rounds):
        scores = rng.normal(-1.5, 1.0, len(OFFERS))
        candidates = Candidates(sums.offers, sigmoid(scores).astype(np.float32), np.ones(len(OFFERS)))
        expected = policy.propensities(prepared, candidates)
        k = int(rng.choice(len(OFFERS), p=policy.selector(prepared, candidates)(running)))
        reward = float(rng.random() < sigmoid(slope * scores + shift)[k])
        learned = policy.learn(
            Observation(k + 1, reward, float(candidates.base_propensity[k]), estimate=float(expected[k]))
        )
        sums.own[k] += learned
        sums = Sums(sums.offers, sums.own, sums.shared + learned)
        prepared = policy.refresh(prepared, sums, np.array([k]))
        late += k == 0 and t >= rounds * 0.9
    return sums, late / (rounds * 0.1)


def test_without_evidence_the_estimate_is_the_propensity() -> None:
    policy = calibrated()
    base_propensity = np.array([0.001, 0.01, 0.05, 0.2, 0.5, 0.9, 0.999, NONE])
    found = estimates(policy, cold(policy), base_propensity)
    assert found[:-1] == pytest.approx(base_propensity[:-1].astype(np.float32).astype(np.float64), rel=1e-9)
    assert found[-1] == pytest.approx(0.05)


def test_further_features_do_not_change_that() -> None:
    features = (Feature("age", "numeric", "customer.age"), Feature("data_mart", "propensity"))
    for declared in (features, features[:1]):
        policy = build_policy(PolicySpec("c", 1, "calibrated", {"default_propensity": 0.3}, declared))
        x = np.full(policy.encoder.width, 0.5)
        sums = cold(policy, 2)
        found = policy.propensities(policy.prepare(sums), asking([1, 2], x, [0.02, NONE]))
        assert found == pytest.approx([np.float32(0.02), 0.3], rel=1e-6)


def test_one_offer_with_stale_propensities_is_found_out() -> None:
    shift = np.zeros(8)
    shift[0] = -2.0
    stale, late = live(calibrated(), shift, 1.0, 6000)
    policy = calibrated()
    for q in (0.3, 0.6):  # who has less is seldom offered anything here
        found = logit(estimates(policy, stale, q)) - logit(q)
        assert found[0] == pytest.approx(-2.0, abs=0.5)
        assert np.abs(found[1:]).max() < 0.6
    assert late < 0.06  # an eighth, if it were believed


def test_what_is_wrong_with_all_offers_is_believed_of_a_new_one() -> None:
    sums, _ = live(calibrated(), np.full(8, -0.7), 0.5, 6000, OFFERS[:-1])
    found = logit(estimates(calibrated(), sums, np.array([0.05] * 8)))[-1]
    assert found == pytest.approx(0.5 * float(logit(0.05)) - 0.7, abs=0.35)
    assert not sums.own[-1].any()


def test_right_propensities_stay_trusted() -> None:
    sums, _ = live(calibrated(), np.zeros(8), 1.0, 4000)
    for q in (0.3, 0.6):
        assert logit(estimates(calibrated(), sums, q)) == pytest.approx(np.full(8, logit(q)), abs=0.5)


def test_where_nobody_has_a_propensity_rates_are_learned() -> None:
    policy = calibrated()
    rng = np.random.default_rng(1)
    sums, rates = cold(policy, 3), [0.02, 0.1, 0.4]
    shared = np.zeros(policy.width)
    for t in range(3000):
        k = t % 3
        expected = (
            float(estimates(policy, Sums(sums.offers, sums.own, shared), NONE)[k]) if t % 30 < 3 else rates[k]
        )
        learned = policy.learn(Observation(k + 1, float(rng.random() < rates[k]), NONE, estimate=expected))
        sums.own[k] += learned
        shared += learned
    found = estimates(policy, Sums(sums.offers, sums.own, shared), NONE)
    assert found == pytest.approx(rates, abs=0.04)


def test_a_higher_propensity_never_has_a_lower_estimate_without_evidence_against_it() -> None:
    sums, _ = live(calibrated(), np.zeros(8), 1.0, 500)
    low, high = (estimates(calibrated(), sums, q) for q in (0.05, 0.5))
    assert (low < high).all()
