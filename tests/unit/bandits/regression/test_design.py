"""The columns of regression models: log odds, scales, and the way back from them."""

import math

import numpy as np
import pytest

from bandits.policy import FloatArray
from bandits.regression.design import Design, Scale, logit, sigmoid
from tests.support.bandits_plain_regression import Columns

NUMBERS = Design.of(Columns(3, scaled=[(0, None), (1, 2)]))


def scale_by(moments: FloatArray) -> Scale:
    return NUMBERS.scale(moments[0], moments.diagonal())


def test_logits_and_sigmoids_undo_each_other_within_their_bounds() -> None:
    chances = np.array([1e-6, 0.01, 0.5, 0.99])
    np.testing.assert_allclose(sigmoid(logit(chances)), chances, rtol=1e-12)
    np.testing.assert_array_equal(logit([0.0, 1.0]), logit([1e-6, 1.0 - 1e-6]))
    assert sigmoid(np.array([-1e9, 1e9])).tolist() == sigmoid(np.array([-30.0, 30.0])).tolist()
    assert sigmoid(np.zeros(1, dtype=np.float32)).dtype == np.float32


def test_the_row_of_an_offer_is_its_column_among_candidates() -> None:
    design = Design(width=4, common=2, numeric=(2,), missing=(3,))
    base_propensity, x = np.array([0.2, math.nan, 1.0]), np.array([0.5])
    columns = design.columns(x, base_propensity)
    assert columns.own is not None
    for k, q in enumerate(base_propensity.tolist()):
        expected = [*columns.common, *columns.own[:, k]]
        np.testing.assert_array_equal(design.row(x, q), expected)


def test_scaled_columns_are_put_back_by_the_unscaling_matrix() -> None:
    moments = sum(np.outer(z, z) for z in ([1, 3.0, 0.0, 1.0], [1, 5.0, 2.0, 0.0], [1, 1.0, 7.0, 0.0]))
    scale = scale_by(np.asarray(moments))
    unscaling = NUMBERS.unscaling(scale)
    known = np.array(
        [1.0, (4.0 - scale.mean[0]) / scale.deviation[0], (3.0 - scale.mean[1]) / scale.deviation[1], 0.0]
    )
    np.testing.assert_allclose(unscaling @ known, [1.0, 4.0, 3.0, 0.0], atol=1e-12)
    missing = np.array([1.0, (4.0 - scale.mean[0]) / scale.deviation[0], 0.0, 1.0])
    np.testing.assert_allclose(unscaling @ missing, [1.0, 4.0, 0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize("spread", [0.25, 0.33, 0.4, 0.5, 0.58])
def test_scales_change_seldom(spread: float) -> None:
    """A new scale costs a new posterior for every offer."""
    rng = np.random.default_rng(4)
    moments, changes, before = np.zeros((4, 4)), [], scale_by(np.zeros((4, 4)))
    for k in range(4000):
        missing = rng.random() < 0.2
        z = np.array([1.0, rng.normal(0.7, spread), 0.0 if missing else rng.exponential(), float(missing)])
        moments += 0.15 * np.outer(z, z)
        scale = scale_by(moments)
        if not scale.is_same(before):
            changes.append(k)
        before = scale
    assert 0 < len(changes) < 60
    assert sum(k >= 1000 for k in changes) <= 30
