"""The contributions of observations to linear and logistic regressions, and the meaning of linear predictors."""

import math

import numpy as np
import pytest

from bandits.regression.design import LINKS, MAX_RESPONSE_SHIFT, LinearLink, LogisticLink
from tests.support.bandits_plain_regression import plain_sigmoid

GRID = [k / 2 for k in range(-14, 15)]


def settled(s0: float, truth: float) -> float:
    """The log odds estimated from very many outcomes of chance ``truth``, all of them linearised at ``s0``."""
    p, link = plain_sigmoid(truth), LogisticLink()
    accepted, rejected = link.linearise(1.0, plain_sigmoid(s0)), link.linearise(0.0, plain_sigmoid(s0))
    weight = p * accepted[0] + (1 - p) * rejected[0]
    return (p * accepted[1] + (1 - p) * rejected[1]) / weight


def test_a_logistic_observation_is_a_newton_step_where_that_is_short() -> None:
    s0, p = -1.0, plain_sigmoid(-1.0)
    weight, response = LogisticLink().linearise(1.0, p)
    assert weight == pytest.approx(p * (1 - p))
    assert response == pytest.approx(p * (1 - p) * s0 + 1 - p)


@pytest.mark.parametrize("reward", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("s0", GRID)
def test_a_response_is_never_far_from_where_it_was_linearised(s0: float, reward: float) -> None:
    weight, response = LogisticLink().linearise(reward, plain_sigmoid(s0))
    assert weight > 0
    assert abs(response / weight - s0) <= MAX_RESPONSE_SHIFT + 1e-9


@pytest.mark.parametrize("truth", GRID)
def test_right_expectations_stay(truth: float) -> None:
    assert settled(truth, truth) == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("truth", GRID)
def test_wrong_expectations_get_nearer(truth: float) -> None:
    for s0 in GRID:
        assert abs(settled(s0, truth) - truth) <= 0.8 * abs(s0 - truth) + 1e-12


@pytest.mark.parametrize(
    ("s0", "truth", "estimate"),
    [(-3.9, -1.0, 0.38), (-3.9, 0.0, 1.35), (-3.9, 2.0, 1.99), (0.0, -3.0, -1.81), (2.0, -3.0, -3.76)],
)
def test_what_is_learned_at_a_stale_expectation(s0: float, truth: float, estimate: float) -> None:
    """A plain Newton step would give 8.9, 20.8, 40.4, -1.8 and -5.9."""
    assert settled(s0, truth) == pytest.approx(estimate, abs=0.01)


def test_expecting_again_what_was_estimated_finds_the_truth() -> None:
    s = -3.9
    for _ in range(8):
        s = settled(s, 2.0)
    assert s == pytest.approx(2.0, abs=1e-5)


def test_log_odds_beyond_eight_count_as_eight() -> None:
    assert LogisticLink().linearise(0.0, 1e-9) == LogisticLink().linearise(0.0, plain_sigmoid(-8.0))
    assert LogisticLink().linearise(1.0, 1 - 1e-9) == pytest.approx(
        LogisticLink().linearise(1.0, plain_sigmoid(8.0))
    )


def test_a_linear_observation_is_its_reward() -> None:
    assert LinearLink().linearise(0.25, 0.9) == (1.0, 0.25)
    assert LinearLink().predictor(0.3) == 0.3
    assert LinearLink().propensity(np.array([-0.2, 0.4, 1.3])).tolist() == [0.0, 0.4, 1.0]


@pytest.mark.parametrize("name", ["linear", "logistic"])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_scores_are_positive_and_rise(name: str, kind: str) -> None:
    s = np.linspace(-12, 12, 97).astype(kind)
    scores = LINKS[name].score(s)
    assert scores.dtype == s.dtype
    assert (scores > 0).all()
    assert (np.diff(scores) > 0).all()


def test_linear_scores_are_the_predictor_where_that_is_a_chance() -> None:
    s = np.array([0.01, 0.2, 0.99, 1.7])
    assert LinearLink().score(s).tolist() == s.tolist()
    assert LinearLink().score(np.array([-0.01, -1.0])) == pytest.approx([1e-4 / 0.03, 1e-4 / 1.02])


def test_the_noise_of_linear_rewards_is_their_variance() -> None:
    rng = np.random.default_rng(0)
    rewards = [(rng.random(4000) < p).astype(float) for p in (0.02, 0.5)]
    own = np.array([[len(r), r.sum(), (r**2).sum()] for r in rewards] + [[0.0, 0.0, 0.0]])
    noise = LinearLink().noise(own, own.sum(axis=0))
    everything = np.concatenate(rewards)
    assert noise[:2] == pytest.approx([r.var() for r in rewards], abs=1e-3)
    assert noise[2] == pytest.approx(everything.var(), abs=1e-3)
    assert LogisticLink().noise(own, own.sum(axis=0)).tolist() == [1.0, 1.0, 1.0]


def test_noise_is_never_nothing() -> None:
    own = np.array([[50.0, 0.0, 0.0], [50.0, 50.0, 50.0], [0.0, 0.0, 0.0]])
    for shared in (own.sum(axis=0), np.zeros(3)):
        assert (LinearLink().noise(own, shared) > 1e-5).all()
    assert math.isfinite(LinearLink().noise(own * 1e6, own[0] * 1e6).max())


@pytest.mark.parametrize("name", LINKS)
def test_a_contest_is_scores_of_draws_times_weights(name: str) -> None:
    link = LINKS[name]
    draws = np.random.default_rng(2).normal(size=(64, 5)).astype(np.float32)
    mean, spread = np.array([-3.0, 0.02, 0.3, 0.9, 6.0]), np.array([0.5, 0.1, 0.0, 2.0, 0.3])
    weight = np.array([1.0, 0.0, 20.0, 0.5, 1e-6], dtype=np.float32)
    drawn = link.weighted_draws(mean, spread, draws, weight)
    assert drawn.dtype == np.float32
    for k, row in enumerate(draws.tolist()):
        plain = weight * link.score(mean + spread * np.array(row))
        assert drawn[k] == pytest.approx(plain, rel=2e-4, abs=1e-12)


@pytest.mark.parametrize("name", LINKS)
def test_no_predictor_is_too_large_for_a_contest(name: str) -> None:
    draws = np.array([[-3.7, 3.7, 3.7, -3.7]], dtype=np.float32)
    far = LINKS[name].weighted_draws(
        np.array([-1e6, 1e6, -1e6, 1e6]), np.full(4, 1e6), draws, np.ones(4, dtype=np.float32)
    )
    assert np.isfinite(far).all()
    assert (far >= 0.0).all()
