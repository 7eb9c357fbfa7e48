"""Another model is taken only where it is clearly better, now, and not since it is night."""

from dataclasses import replace

import numpy as np
import pytest

from bandits.monitoring.paired_losses import DAY_MS, MIN_OUTCOMES, ExpectedOutcomes, clearest_gain
from bandits.policy import FloatArray

COUNT = 8 * MIN_OUTCOMES
OFFERS = 4
A_DAY = 512
"""Outcomes of a day."""


def outcomes(seed: int, rates: FloatArray, *expected: FloatArray) -> ExpectedOutcomes:
    """Outcomes with these chances, evenly over four days, and the chances that models expected."""
    rng = np.random.default_rng(seed)
    count = len(rates)
    return ExpectedOutcomes(
        np.arange(count) * (DAY_MS // A_DAY),
        rng.integers(0, OFFERS, count),
        (rng.random(count) < rates).astype(np.float64),
        np.column_stack(expected),
    )


def constant(chance: float, count: int = COUNT) -> FloatArray:
    return np.full(count, chance)


def noisy(seed: int, chance: float, noise: float) -> FloatArray:
    """A model that is as good as others in the mean, and sees other things."""
    swing = np.random.default_rng([9, seed]).normal(0.0, noise, COUNT)
    expected: FloatArray = 1.0 / (1.0 + np.exp(-(np.log(chance / (1.0 - chance)) + swing)))
    return expected


def test_a_model_that_expects_better_is_found_with_what_it_is_worth() -> None:
    made = outcomes(0, constant(0.3), constant(0.8), constant(0.5), constant(0.3))
    found = clearest_gain(made, 0, {1: 0.0, 2: 0.0})
    assert found is not None
    assert found.model == 2
    worth = -0.3 * np.log(0.8 / 0.3) - 0.7 * np.log(0.2 / 0.7)
    assert found.loss_before - found.loss == pytest.approx(worth, abs=0.1)
    assert 0.0 < found.least < found.loss_before - found.loss


def test_models_that_are_as_good_are_not_taken_whatever_the_luck() -> None:
    taken = 0
    for seed in range(200):
        models = [noisy(3 * seed + number, 0.3, 0.2) for number in range(3)]
        made = outcomes(seed, constant(0.3), *models)
        taken += clearest_gain(made, 0, {1: 0.0, 2: 0.0}, anew=(2,)) is not None
    assert taken == 0


def test_what_is_better_by_less_than_its_margin_is_not_taken() -> None:
    made = outcomes(1, constant(0.3), constant(0.45), constant(0.3))
    assert clearest_gain(made, 0, {1: 0.0}) is not None
    assert clearest_gain(made, 0, {1: 0.1}) is None


def flipped(since: int) -> tuple[FloatArray, FloatArray]:
    """Rates of acceptance that fall at a time, and what a model expects that begins anew there."""
    late = np.arange(COUNT) >= since
    return np.where(late, 0.1, 0.7), np.where(late, 0.1, np.nan)


def test_the_latest_outcomes_count_though_most_say_otherwise() -> None:
    rates, anew = flipped(COUNT - MIN_OUTCOMES)
    found = clearest_gain(outcomes(2, rates, constant(0.7), anew), 0, {1: 0.01}, anew=(1,))
    assert found is not None
    assert found.outcomes == MIN_OUTCOMES


def test_a_model_is_not_judged_by_few() -> None:
    rates, anew = flipped(COUNT - MIN_OUTCOMES + 1)
    assert clearest_gain(outcomes(2, rates, constant(0.7), anew), 0, {1: 0.01}, anew=(1,)) is None


def test_outcomes_that_resemble_those_before_them_are_no_more_evidence_than_they_are() -> None:
    """Each eight outcomes are one, so that there are but an eighth as many as it seems."""
    taken = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        made = outcomes(seed, constant(0.3), constant(0.3), noisy(seed, 0.3, 0.5))
        rewards = np.repeat((rng.random(COUNT // 8) < 0.3).astype(np.float64), 8)
        chances = np.repeat(made.chances[::8], 8, axis=0)
        taken += clearest_gain(replace(made, rewards=rewards, chances=chances), 0, {1: 0.0}) is not None
    assert taken <= 2


def nightly() -> tuple[FloatArray, FloatArray]:
    """Rates that are low in the second half of each day, and a model that knows but the last hours."""
    night = np.arange(COUNT) % A_DAY >= A_DAY // 2
    rates = np.where(night, 0.1, 0.6)
    return rates, np.where(np.arange(COUNT) >= COUNT - A_DAY // 2, 0.1, np.nan)


def test_what_was_so_at_the_same_hours_of_the_days_before_is_no_change() -> None:
    rates, anew = nightly()
    for seed in range(20):
        assert clearest_gain(outcomes(seed, rates, constant(0.35), anew), 0, {1: 0.01}, anew=(1,)) is None


def test_one_other_day_of_late_does_not_hide_a_change() -> None:
    """It may be that of an earlier change."""
    rates, anew = flipped(COUNT - MIN_OUTCOMES)
    rates[COUNT - 2 * A_DAY - MIN_OUTCOMES : COUNT - 2 * A_DAY] = 0.05
    assert clearest_gain(outcomes(5, rates, constant(0.7), anew), 0, {1: 0.01}, anew=(1,)) is not None


def test_hours_of_which_no_day_before_is_known_say_nothing_of_change() -> None:
    rates, anew = flipped(A_DAY // 2)
    early = slice(0, A_DAY)
    made = outcomes(3, rates[early], constant(0.7)[early], anew[early])
    assert clearest_gain(made, 0, {1: 0.01}, anew=(1,)) is None


def test_a_model_that_did_not_begin_anew_has_to_be_better_over_a_day() -> None:
    rates, _ = flipped(COUNT - MIN_OUTCOMES)
    knows = np.where(np.arange(COUNT) >= COUNT - MIN_OUTCOMES, 0.1, 0.7)
    made = outcomes(4, rates, constant(0.7), knows)
    found = clearest_gain(made, 0, {1: 0.01})
    assert found is None or found.outcomes >= A_DAY
