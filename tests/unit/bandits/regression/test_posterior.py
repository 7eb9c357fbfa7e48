"""Estimates of regression policies against the same model solved plainly from all outcomes at once."""

import math
from typing import Any, cast

import numpy as np
import pytest

from bandits.algorithms.calibrated import OFFSET_PRECISION
from bandits.regression.regression_policy import INTERCEPT_PRECISION, RegressionPolicy
from bandits.sums import OfferGroups
from tests.support.bandits_learning_world import NONE, asking, build_with, learned, outcomes, requests
from tests.support.bandits_plain_regression import Columns, PlainRegression, plain_sigmoid

OFFERS = [3, 5, 8, 13]
COLD = 21
RIDGE, SHRINKAGE, DEFAULT, TRUST = 0.4, 0.9, 0.08, 2.5
MODELS = {
    "linear_thompson": "linear",
    "lin_ucb": "linear",
    "logistic_thompson": "logistic",
    "squarecb": "logistic",
    "calibrated": "logistic",
}
NO_COLUMNS = Columns(0)
PLAIN_COLUMNS = Columns(3)
SCALED = Columns(5, scaled=[(0, None), (2, 3)], features=3)
WITH_PROPENSITY = Columns(3, scaled=[(1, 2)], propensity=True, features=2)
ONLY_PROPENSITY = Columns(0, propensity=True)


def policy_and_plain(
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
    encoder: Columns,
    share: str,
    half_life_days: float,
    group_shrinkage: float | None = None,
) -> tuple[RegressionPolicy, PlainRegression]:
    given = {"ridge": RIDGE, "shrinkage": SHRINKAGE, "share": share}
    more = {"trust": TRUST} if algorithm == "calibrated" else {}
    policy = build_with(
        monkeypatch,
        encoder,
        algorithm,
        **given,
        **more,
        default_propensity=DEFAULT,
        half_life_days=half_life_days,
        group_shrinkage=group_shrinkage,
    )
    plain = PlainRegression(
        encoder,
        MODELS[algorithm],
        **cast(Any, given),
        default=DEFAULT,
        intercept_precision=OFFSET_PRECISION if algorithm == "calibrated" else INTERCEPT_PRECISION,
        trust=TRUST if algorithm == "calibrated" else None,
    )
    return cast(RegressionPolicy, policy), plain


CASES = [
    *[
        ("logistic_thompson", columns, "shrink", 30.0)
        for columns in (NO_COLUMNS, PLAIN_COLUMNS, WITH_PROPENSITY)
    ],
    *[("logistic_thompson", SCALED, share, 0.0) for share in ("none", "shrink", "all")],
    *[("linear_thompson", SCALED, share, 30.0) for share in ("none", "shrink", "all")],
    ("linear_thompson", WITH_PROPENSITY, "shrink", 0.0),
    ("lin_ucb", SCALED, "none", 0.0),
    ("squarecb", SCALED, "shrink", 0.0),
    *[("calibrated", ONLY_PROPENSITY, share, 0.0) for share in ("none", "shrink", "all")],
    ("calibrated", WITH_PROPENSITY, "shrink", 30.0),
]


@pytest.mark.parametrize(("algorithm", "encoder", "share", "half_life_days"), CASES)
@pytest.mark.parametrize("count", [0, 3, 60, 600])
def test_estimates_are_those_of_a_plain_solution(
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
    encoder: Columns,
    share: str,
    half_life_days: float,
    count: int,
) -> None:
    policy, plain = policy_and_plain(monkeypatch, algorithm, encoder, share, half_life_days)
    assert_as_plain(policy, plain, encoder, count)


GROUPS = {3: "a", 5: "b", 8: "a", COLD: "b", 77: "c"}
"""Offer 13 has no group, and of the third group no offer was ever observed."""


@pytest.mark.parametrize(
    ("algorithm", "encoder", "share", "half_life_days"),
    [
        ("logistic_thompson", NO_COLUMNS, "shrink", 30.0),
        ("logistic_thompson", SCALED, "shrink", 0.0),
        ("logistic_thompson", SCALED, "all", 0.0),
        ("linear_thompson", WITH_PROPENSITY, "shrink", 30.0),
        ("calibrated", WITH_PROPENSITY, "shrink", 30.0),
        ("calibrated", ONLY_PROPENSITY, "all", 0.0),
    ],
)
@pytest.mark.parametrize("count", [0, 3, 600])
def test_with_groups_estimates_are_those_of_a_plain_solution(
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
    encoder: Columns,
    share: str,
    half_life_days: float,
    count: int,
) -> None:
    policy, plain = policy_and_plain(
        monkeypatch, algorithm, encoder, share, half_life_days, group_shrinkage=0.7
    )
    plain.groups, plain.group_shrinkage = GROUPS, 0.7
    assert_as_plain(policy, plain, encoder, count, OfferGroups.of(GROUPS))


def assert_as_plain(
    policy: RegressionPolicy,
    plain: PlainRegression,
    encoder: Columns,
    count: int,
    groups: OfferGroups | None = None,
) -> None:
    seen = outcomes(encoder, OFFERS, count, seed=count, half_life_s=policy.decay.half_life_s)
    everyone = [*OFFERS, COLD]
    sums = learned(policy, seen, everyone, groups)
    prepared = policy.prepare(sums)
    noise = policy.link.noise(prepared.posterior.own, sums.shared)
    for x in requests(np.random.default_rng(1), encoder, 3):
        candidates = asking(everyone, x, base_propensity=[0.2, 0.01, NONE, 0.5, 0.9])
        means, deviations = policy.predict(prepared, candidates)
        propensities = policy.propensities(prepared, candidates)
        for k, offer in enumerate(everyone):
            mean, variance = plain.predict(seen, offer, x, float(candidates.base_propensity[k]))
            assert means[k] == pytest.approx(mean, abs=2e-4)
            assert deviations[k] == pytest.approx(math.sqrt(variance * noise[k]), rel=2e-4, abs=1e-6)
            chance = plain_sigmoid(mean) if plain.link == "logistic" else min(max(mean, 0.0), 1.0)
            assert propensities[k] == pytest.approx(chance, abs=1e-4)
