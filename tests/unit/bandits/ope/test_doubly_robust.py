"""The doubly robust estimator, and intervals for rows that belong together."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bandits.errors import EvaluationError
from bandits.intervals import Z95
from bandits.ope.estimators import doubly_robust, inverse_propensity, self_normalised
from bandits.policy import FloatArray

IndexArray = NDArray[np.int64]

REWARD = [1.0, 0.0, 2.5, 1.0, -1.0]
PROBABILITY = [0.5, 0.25, 0.8, 0.1, 1.0]
TARGET = [0.9, 0.0, 0.2, 0.3, 1.0]
EXPECTED = [0.5, 0.1, 2.0, 0.7, -0.5]
DIRECT = [0.6, 0.3, 1.0, 0.2, 0.1]

LOGGING = np.array([0.55, 0.25, 0.1, 0.05, 0.05])
TARGETED = np.array([0.1, 0.2, 0.3, 0.3, 0.1])
RATE = np.array([0.1, 0.2, 0.3, 0.5, 0.05])
TRUTH = float(TARGETED @ RATE)


def test_the_model_is_corrected_by_the_weighted_error() -> None:
    terms = [
        d + (r - q) * t / p
        for r, p, t, q, d in zip(REWARD, PROBABILITY, TARGET, EXPECTED, DIRECT, strict=True)
    ]
    mean = sum(terms) / 5
    deviation = math.sqrt(sum((term - mean) ** 2 for term in terms) / 4)
    estimate = doubly_robust(REWARD, PROBABILITY, TARGET, EXPECTED, DIRECT)
    assert estimate.value == pytest.approx(mean)
    assert estimate.high - estimate.value == pytest.approx(Z95 * deviation / math.sqrt(5))
    assert estimate.effective_rows == inverse_propensity(REWARD, PROBABILITY, TARGET).effective_rows


def test_without_a_model_it_is_inverse_propensity() -> None:
    assert doubly_robust(REWARD, PROBABILITY, TARGET, [0] * 5, [0] * 5) == inverse_propensity(
        REWARD, PROBABILITY, TARGET
    )


def test_a_model_that_is_right_leaves_nothing_to_correct() -> None:
    estimate = doubly_robust(REWARD, PROBABILITY, TARGET, REWARD, DIRECT)
    assert estimate.value == pytest.approx(np.mean(DIRECT))


def test_clipping_bounds_the_weight_of_a_single_row() -> None:
    args = ([1.0, 0.0, 0.0], [1e-4, 0.9, 0.9], [1.0, 0.5, 0.5], [0.2] * 3, [0.2] * 3)
    assert doubly_robust(*args).value > 1000
    assert doubly_robust(*args, clip=10.0).value == pytest.approx(0.2 + (10 * 0.8 - 2 * 0.5 / 0.9 * 0.2) / 3)
    assert doubly_robust(*args, clip=1e6) == doubly_robust(*args)
    with pytest.raises(EvaluationError, match="clip"):
        doubly_robust(*args, clip=0.0)


@pytest.mark.parametrize(
    ("expected", "direct", "reason"),
    [
        ([0.5], DIRECT, "expected must be of the same length"),
        (EXPECTED, [0.5], "direct must be of the same length"),
        ([math.nan] * 5, DIRECT, "expected is not a finite"),
        (EXPECTED, [math.inf] * 5, "direct is not a finite"),
    ],
)
def test_a_model_must_tell_a_number_for_each_row(
    expected: list[float], direct: list[float], reason: str
) -> None:
    with pytest.raises(EvaluationError, match=reason):
        doubly_robust(REWARD, PROBABILITY, TARGET, expected, direct)


def test_rows_of_unknown_probability_need_no_model() -> None:
    known = doubly_robust(REWARD, PROBABILITY, TARGET, EXPECTED, DIRECT, units=[1, 1, 2, 3, 3])
    found = doubly_robust(
        [*REWARD, 1.0],
        [*PROBABILITY, math.nan],
        [*TARGET, 1.0],
        [*EXPECTED, math.nan],
        [*DIRECT, math.nan],
        units=[1, 1, 2, 3, 3, 3],
        unknown="leave_out",
    )
    assert (found.value, found.low, found.high) == (known.value, known.low, known.high)
    assert (found.rows, found.left_out) == (5, 1)


def logged(rng: np.random.Generator, rows: int) -> tuple[FloatArray, FloatArray, FloatArray, IndexArray]:
    """Rewards, probabilities and targets of logged choices, and what was chosen."""
    chosen = rng.choice(5, rows, p=LOGGING)
    return (rng.random(rows) < RATE[chosen]).astype(float), LOGGING[chosen], TARGETED[chosen], chosen


@pytest.mark.parametrize("model", ["right", "wrong", "constant"])
def test_it_is_unbiased_and_its_intervals_cover_whatever_the_model_says(model: str) -> None:
    says = {"right": RATE, "wrong": 1.0 - RATE, "constant": np.full(5, 0.2)}[model]
    rng = np.random.default_rng(11)
    covered, values = 0, []
    for _ in range(1000):
        reward, probability, target, chosen = logged(rng, 400)
        direct = np.full(400, float(TARGETED @ says))
        estimate = doubly_robust(reward, probability, target, says[chosen], direct)
        covered += estimate.low <= TRUTH <= estimate.high
        values.append(estimate.value)
    error = float(np.std(values, ddof=1)) / math.sqrt(1000)
    assert abs(float(np.mean(values)) - TRUTH) < 4 * error
    assert covered > 907  # 4 scores below 95 %, and 1.5 points for the normal approximation


def test_a_good_model_makes_it_more_precise_than_weighting_alone() -> None:
    rng = np.random.default_rng(12)
    widths: dict[str, list[float]] = {"ips": [], "dr": []}
    for _ in range(200):
        reward, probability, target, chosen = logged(rng, 400)
        ips = inverse_propensity(reward, probability, target)
        direct = np.full(400, TRUTH)
        dr = doubly_robust(reward, probability, target, RATE[chosen], direct)
        widths["ips"].append(ips.value)
        widths["dr"].append(dr.value)
    assert np.var(widths["dr"]) < 0.85 * np.var(widths["ips"])


def test_one_row_a_unit_is_the_same_as_no_units() -> None:
    for estimator in (inverse_propensity, self_normalised):
        alone = estimator(REWARD, PROBABILITY, TARGET)
        told = estimator(REWARD, PROBABILITY, TARGET, units=[9, 3, 5, 1, 2])
        assert (told.low, told.high) == pytest.approx((alone.low, alone.high))


def test_rows_that_say_the_same_are_not_counted_as_more_evidence() -> None:
    """Each row three times over: the interval is that of the rows once."""
    reward, probability, target = (np.repeat(v, 3) for v in (REWARD, PROBABILITY, TARGET))
    units = np.repeat(np.arange(5), 3)
    for estimator in (inverse_propensity, self_normalised):
        once = estimator(REWARD, PROBABILITY, TARGET)
        thrice = estimator(reward, probability, target, units=units)
        assert (thrice.value, thrice.low, thrice.high) == pytest.approx((once.value, once.low, once.high))
        assert estimator(reward, probability, target).high < thrice.high
    with pytest.raises(EvaluationError, match="units must be of the same length"):
        inverse_propensity(REWARD, PROBABILITY, TARGET, units=[1])


def test_estimates_are_those_that_obp_gives() -> None:
    """``expected``: what obp 0.5.7 printed for these twelve rounds of three actions (numpy 1.26.4)."""
    rounds, actions = np.arange(12), np.arange(3)
    each = rounds[:, None]
    logging = 1.0 + (5 * each + 3 * actions**2 + each * actions) % 7
    target = 1.0 + (2 * each + 5 * actions + each * actions**2) % 5
    logging, target = (chances / chances.sum(axis=1, keepdims=True) for chances in (logging, target))
    model = (7 * each + 4 * actions) % 11 / 10
    action = (rounds**2 + rounds // 2) % 3
    reward = ((3 * rounds + action) % 4 == 0).astype(float)
    logged = reward, logging[rounds, action], target[rounds, action]
    modelled = model[rounds, action], (target * model).sum(axis=1)
    found = [
        inverse_propensity(*logged).value,
        self_normalised(*logged).value,
        *(doubly_robust(*logged, *modelled, clip=clip).value for clip in (math.inf, 2.0, 1.5)),
    ]
    expected = [
        0.7451058201058199,
        0.45543113554594333,
        0.7572089947089947,
        0.6520743145743145,
        0.5854076479076479,
    ]
    assert found == pytest.approx(expected, abs=1e-12)
