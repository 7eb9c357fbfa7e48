"""Choices of policies on regression models, against loops over the estimates of a plain solution."""

import math
from typing import Any, cast

import numpy as np
import pytest

from bandits.policy import FloatArray
from bandits.regression.regression_policy import INTERCEPT_PRECISION, RegressionPolicy
from bandits.sampling import normal_draws
from tests.support.bandits_learning_world import asking, build_with, learned, outcomes, requests
from tests.support.bandits_plain_regression import Columns, PlainRegression, plain_sigmoid

OFFERS = [3, 5, 8, 13, 21]
WEIGHT = [1.0, 0.8, 1.3, 1.0, 0.9]
AVAILABLE = np.array([True, True, False, True, True])
ENCODER = Columns(4, scaled=[(0, 1), (2, None)], features=3)
SEEN = outcomes(ENCODER, OFFERS[:4], 300, seed=7)
X = requests(np.random.default_rng(5), ENCODER, 4)


class Case:
    """A policy that has learned, and the means and standard deviations that it should choose by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, algorithm: str, link: str, **parameters: Any) -> None:
        common = {"half_life_days": 0, "epsilon": 0.05, "ridge": 0.3, "shrinkage": 0.6}
        self.policy = build_with(monkeypatch, ENCODER, algorithm, **common, **parameters)
        self.plain = PlainRegression(
            ENCODER,
            link,
            share="shrink",
            ridge=0.3,
            shrinkage=0.6,
            default=0.05,
            intercept_precision=INTERCEPT_PRECISION,
        )
        self.sums = learned(self.policy, SEEN, OFFERS)
        self.noise = [1.0] * len(OFFERS)
        if link == "linear":
            self.noise = (
                cast(RegressionPolicy, self.policy).link.noise(self.sums.own, self.sums.shared).tolist()
            )

    def chances(self, x: FloatArray) -> FloatArray:
        candidates = asking(OFFERS, x, weight=WEIGHT)
        return self.policy.selector(self.policy.prepare(self.sums), candidates)(AVAILABLE)

    def expected(self, x: FloatArray) -> list[tuple[float, float]]:
        """Mean and standard deviation of each offer's linear predictor."""
        found = [self.plain.predict(SEEN, offer, x, math.nan) for offer in OFFERS]
        return [
            (mean, math.sqrt(variance * noise))
            for (mean, variance), noise in zip(found, self.noise, strict=True)
        ]


def plain_score(link: str, s: float) -> float:
    if link == "logistic":
        return plain_sigmoid(s)
    return s if s >= 0.01 else 0.0001 / (0.02 - s)


@pytest.mark.parametrize(
    ("algorithm", "link"), [("linear_thompson", "linear"), ("logistic_thompson", "logistic")]
)
def test_thompson_sampling_counts_wins_over_draws(
    monkeypatch: pytest.MonkeyPatch, algorithm: str, link: str
) -> None:
    case = Case(monkeypatch, algorithm, link, exploration=0.7, draws=400)
    draws = normal_draws(np.array(OFFERS, dtype=np.uint32), 400).tolist()
    spread = 0
    for x in X:
        expected, wins = case.expected(x), [0] * len(OFFERS)
        for draw in draws:
            scores = [
                weight * plain_score(link, mean + 0.7 * deviation * noise) if there else -1.0
                for weight, (mean, deviation), noise, there in zip(
                    WEIGHT, expected, draw, AVAILABLE, strict=True
                )
            ]
            wins[scores.index(max(scores))] += 1
        chances = [
            0.05 / 4 + 0.95 * won / 400 if there else 0.0 for won, there in zip(wins, AVAILABLE, strict=True)
        ]
        # Sums are rounded to millionths, draws to float32: now and then another one wins.
        assert case.chances(x) == pytest.approx(chances, abs=2 / 400)
        spread += sum(won > 20 for won in wins)
    assert spread >= 8


def test_without_exploration_the_best_estimate_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(monkeypatch, "logistic_thompson", "logistic", exploration=0.0)
    for x in X:
        scores = [w * plain_sigmoid(m) for w, (m, _) in zip(WEIGHT, case.expected(x), strict=True)]
        best = max((k for k in range(5) if AVAILABLE[k]), key=lambda k: scores[k])
        assert case.chances(x)[best] == pytest.approx(0.05 / 4 + 0.95)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 3.0])
def test_lin_ucb_takes_the_best_upper_bound(monkeypatch: pytest.MonkeyPatch, alpha: float) -> None:
    case = Case(monkeypatch, "lin_ucb", "linear", alpha=alpha)
    for x in X:
        bounds = [
            w * plain_score("linear", m + alpha * d) if there else -1.0
            for w, (m, d), there in zip(WEIGHT, case.expected(x), AVAILABLE, strict=True)
        ]
        chances = [0.05 / 4 if there else 0.0 for there in AVAILABLE]
        chances[bounds.index(max(bounds))] += 0.95
        assert case.chances(x) == pytest.approx(chances, abs=1e-12)


@pytest.mark.parametrize("model", ["linear", "logistic"])
def test_squarecb_weighs_inverse_gaps(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    case = Case(monkeypatch, "squarecb", model, model=model, gamma_scale=2.0, gamma_exponent=0.4)
    gamma = 2.0 * 300**0.4
    for x in X:
        scores = [w * plain_score(model, m) for w, (m, _) in zip(WEIGHT, case.expected(x), strict=True)]
        top = max(score for score, there in zip(scores, AVAILABLE, strict=True) if there)
        chances = [
            1 / (4 + gamma * (1 - score / top)) if there and score < top else 0.0
            for score, there in zip(scores, AVAILABLE, strict=True)
        ]
        chances[scores.index(top)] = 1 - sum(chances)
        floored = [0.05 / 4 + 0.95 * p if there else 0.0 for p, there in zip(chances, AVAILABLE, strict=True)]
        assert case.chances(x) == pytest.approx(floored, abs=1e-4)


def test_squarecb_narrows_as_it_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    best = []
    for count in (0, 30, 3000):
        policy = build_with(monkeypatch, ENCODER, "squarecb", half_life_days=0)
        seen = outcomes(ENCODER, OFFERS, count, seed=2)
        prepared = policy.prepare(learned(policy, seen, OFFERS))
        best.append(float(policy.selector(prepared, asking(OFFERS, X[0]))(np.ones(5, dtype=bool)).max()))
    assert best[0] == pytest.approx(0.2)
    assert best[0] < best[1] < best[2]
