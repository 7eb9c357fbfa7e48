"""The simulated world: scaled as documented, different from the propensities, with something to learn."""

from itertools import pairwise

import numpy as np
import pytest

from demo.journey import DATA_END, Floats, Journey
from demo.response import (
    REJECTION_SHARE,
    TARGET_ACCEPTANCE,
    AnswerModel,
    build_answer_model,
    draw_answer,
    true_log_odds,
)


@pytest.fixture(scope="module")
def live(journey: Journey) -> np.ndarray:
    return np.asarray(journey.campaigns.end >= DATA_END)


@pytest.fixture(scope="module")
def world(journey: Journey, live: np.ndarray) -> AnswerModel:
    return build_answer_model(journey, live)


def test_a_random_live_offer_is_accepted_as_often_as_the_average_exposure_was(
    world: AnswerModel, live: np.ndarray
) -> None:
    assert world.acceptance.shape == (2469, 27)
    assert world.acceptance[:, live].mean() == pytest.approx(TARGET_ACCEPTANCE, abs=1e-9)
    assert round(TARGET_ACCEPTANCE, 4) == 0.1202
    assert world.odds_factor == pytest.approx(8.9, abs=0.1)


def test_the_fit_matches_the_exposures_it_was_made_from(journey: Journey) -> None:
    # The intercept is free, so expected and observed acceptances agree in sum.
    log_odds = true_log_odds(journey)[journey.exposures.household, journey.exposures.campaign]
    assert (1 / (1 + np.exp(-log_odds))).sum() == pytest.approx(792, abs=0.01)


def test_there_is_something_to_learn(world: AnswerModel, live: np.ndarray, scores: Floats) -> None:
    truth, known = world.acceptance[:, live], scores[:, live]
    everyone = np.arange(len(truth))
    by_propensity = truth[everyone, known.argmax(axis=1)].mean()
    at_best = truth.max(axis=1).mean()
    assert at_best > 1.5 * TARGET_ACCEPTANCE
    assert at_best > 1.5 * by_propensity


def test_no_live_offer_is_an_error(journey: Journey) -> None:
    with pytest.raises(ValueError, match="no offer is live"):
        build_answer_model(journey, np.zeros(27, dtype=bool))


def test_answers_split_the_unit_interval() -> None:
    acceptance = 0.2
    silence_from = acceptance + (1 - acceptance) * REJECTION_SHARE
    assert draw_answer(acceptance, 0.0) == draw_answer(acceptance, 0.1999) == "accepted"
    assert draw_answer(acceptance, 0.2) == draw_answer(acceptance, silence_from - 1e-9) == "rejected"
    assert draw_answer(acceptance, silence_from) is draw_answer(acceptance, 0.9999) is None
    kinds = [draw_answer(acceptance, draw) for draw in np.linspace(0, 0.9999, 500)]
    assert sum(one != other for one, other in pairwise(kinds)) == 2
