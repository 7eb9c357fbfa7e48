"""The fit is the maximum it claims to be, and the measures are what they are defined as."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.journey import Journey
from demo.logistic import NotConverged, area_under_curve, fit_logistic, log_loss, sigmoid
from demo.propensity import PENALTY, Fitted, training_rows


def test_the_gradient_of_the_penalised_likelihood_is_zero(journey: Journey, fitted: Fitted) -> None:
    rows, accepted = training_rows(journey)
    model = fitted.model
    assert (fitted.rows, fitted.accepted) == (len(accepted), int(accepted.sum())) == (2196, 239)
    residual = accepted - model.probability(rows)
    scaled = (rows - model.mean) / model.spread
    assert abs(residual.sum()) < 1e-6
    np.testing.assert_allclose(scaled.T @ residual, PENALTY * model.weights, atol=1e-6)


def test_any_other_coefficients_are_worse(journey: Journey, fitted: Fitted) -> None:
    rows, accepted = training_rows(journey)
    scaled = (rows - fitted.model.mean) / fitted.model.spread

    def height(intercept: float, weights: np.ndarray) -> float:
        log_odds = intercept + scaled @ weights
        likelihood = accepted @ log_odds - np.logaddexp(0, log_odds).sum()
        return float(likelihood - 0.5 * PENALTY * weights @ weights)

    best = height(fitted.model.intercept, fitted.model.weights)
    generator = np.random.default_rng(7)
    for _ in range(50):
        nudge = generator.normal(scale=0.05, size=len(fitted.model.weights) + 1)
        assert height(fitted.model.intercept + nudge[0], fitted.model.weights + nudge[1:]) < best


def test_known_coefficients_are_recovered() -> None:
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(20_000, 3))
    truth = np.array([1.0, -0.5, 0.0])
    accepted = generator.random(20_000) < sigmoid(rows @ truth - 1.0)
    model = fit_logistic(rows, accepted, 0.1, standardise=False)
    np.testing.assert_allclose(model.weights, truth, atol=0.08)
    assert model.intercept == pytest.approx(-1.0, abs=0.08)


def test_separable_rows_still_converge_and_a_constant_column_gets_no_weight() -> None:
    rows = np.column_stack([np.linspace(-1, 1, 40), np.ones(40)])
    model = fit_logistic(rows, rows[:, 0] > 0, 0.5)
    assert model.weights[0] > 0
    assert model.weights[1] == 0


def test_giving_up_is_an_error() -> None:
    rows = np.linspace(-1, 1, 40)[:, None]
    with pytest.raises(NotConverged, match="1 Newton step"):
        fit_logistic(rows, rows[:, 0] > 0.3, 0.01, max_iterations=1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_area_under_curve_counts_pairs(pairs: list[tuple[int, bool]]) -> None:
    score = np.array([float(value) for value, _ in pairs])
    accepted = np.array([won for _, won in pairs])
    if accepted.all() or not accepted.any():
        with pytest.raises(ValueError, match="both outcomes"):
            area_under_curve(score, accepted)
        return
    above = score[accepted][:, None] - score[~accepted][None, :]
    expected = np.mean((above > 0) + 0.5 * (above == 0))
    assert area_under_curve(score, accepted) == pytest.approx(float(expected))


def test_log_loss_of_a_coin_is_log_two() -> None:
    assert log_loss(np.full(4, 0.5), np.array([True, False, True, True])) == pytest.approx(np.log(2))
    assert np.isfinite(log_loss(np.array([0.0, 1.0]), np.array([True, False])))
