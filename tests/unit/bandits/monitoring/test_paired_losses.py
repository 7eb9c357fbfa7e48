"""Another model is taken only where it is clearly better, now."""

import numpy as np
import pytest

from bandits.monitoring.paired_losses import MIN_OUTCOMES, clearest_gain

COUNT = 8 * MIN_OUTCOMES


def losses(seed: int, *gains: float, since: int = 0, count: int = COUNT) -> np.ndarray:
    """Losses of a model, and of others that are better by ``gains`` from the place ``since`` on."""
    rng = np.random.default_rng(seed)
    common = rng.exponential(0.5, count)
    better = np.where(np.arange(count) >= since, 1.0, 0.0)
    return np.column_stack(
        [
            common,
            *(common - gain * better + rng.normal(0.0, 0.1, count) for gain in gains),
        ]
    )


def test_a_model_that_expects_better_is_found_with_what_it_is_worth() -> None:
    found = clearest_gain(losses(0, 0.05, 0.2), 0, {1: 0.0, 2: 0.0})
    assert found is not None
    assert found.model == 2
    assert found.loss_before - found.loss == pytest.approx(0.2, abs=0.05)
    assert 0.0 < found.least < found.loss_before - found.loss


def test_models_that_are_as_good_are_not_taken_whatever_the_luck() -> None:
    assert all(clearest_gain(losses(seed, 0.0, 0.0), 0, {1: 0.0, 2: 0.0}) is None for seed in range(200))


def test_what_is_better_by_less_than_its_margin_is_not_taken() -> None:
    made = losses(1, 0.02)
    assert clearest_gain(made, 0, {1: 0.0}) is not None
    assert clearest_gain(made, 0, {1: 0.05}) is None


def test_the_latest_outcomes_count_though_most_say_otherwise() -> None:
    made = losses(2, 0.4, since=COUNT - MIN_OUTCOMES)
    made[: COUNT - MIN_OUTCOMES, 1] += 0.3
    found = clearest_gain(made, 0, {1: 0.01})
    assert found is not None
    assert found.outcomes == MIN_OUTCOMES


def test_outcomes_that_resemble_those_before_them_are_no_more_evidence_than_they_are() -> None:
    """Each difference stands for eight outcomes, so that there are but an eighth as many as it seems."""
    taken = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        base = rng.exponential(0.5, COUNT)
        difference = np.repeat(rng.normal(0.0, 0.3, COUNT // 8), 8)
        taken += clearest_gain(np.column_stack([base, base - difference]), 0, {1: 0.0}) is not None
    assert taken <= 2


def test_a_model_is_judged_from_when_it_began_and_not_by_few() -> None:
    made = losses(3, 0.3)
    made[: COUNT - MIN_OUTCOMES, 1] = np.nan
    found = clearest_gain(made, 0, {1: 0.0})
    assert found is not None
    assert found.outcomes == MIN_OUTCOMES
    made[: COUNT - MIN_OUTCOMES + 1, 1] = np.nan
    assert clearest_gain(made, 0, {1: 0.0}) is None
