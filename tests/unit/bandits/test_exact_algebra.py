"""Linear algebra in a fixed order: right, and the same for one matrix as for many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits.exact_math import (
    apply_factors,
    apply_transposed_factors,
    inverses_of_factors,
    invert_factors,
    multiply,
    sum_rows,
)
from bandits.policy import FloatArray


def matrices(seed: int, size: int, count: int) -> FloatArray:
    """Positive definite ones: shape ``(size, size, count)``."""
    roots = np.random.default_rng(seed).normal(size=(count, size, size))
    return (roots @ roots.transpose(0, 2, 1) + np.eye(size)).transpose(1, 2, 0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 9), count=st.integers(1, 70))
def test_factors_are_those_of_the_inverse(seed: int, size: int, count: int) -> None:
    a = matrices(seed, size, count)
    factors, pivots = invert_factors(a)
    expected = np.linalg.inv(a.transpose(2, 0, 1))
    np.testing.assert_allclose(
        inverses_of_factors(factors).transpose(2, 0, 1), expected, rtol=1e-7, atol=1e-9
    )
    np.testing.assert_allclose(pivots.prod(axis=0), np.linalg.det(a.transpose(2, 0, 1)), rtol=1e-9)
    y = np.random.default_rng(seed).normal(size=(size, count))
    solved = apply_transposed_factors(factors, apply_factors(factors, y[:0, 0], y))
    np.testing.assert_allclose(np.einsum("ijn,jn->in", a, solved), y, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 9), count=st.integers(2, 70), data=st.data())
def test_a_matrix_among_many_has_the_bits_that_it_has_alone(
    seed: int, size: int, count: int, data: st.DataObject
) -> None:
    a = matrices(seed, size, count)
    row = data.draw(st.integers(0, count - 1))
    common = data.draw(st.integers(0, size))
    z = np.random.default_rng(seed).normal(size=(size, count))
    z[:common] = z[:common, :1]
    among, alone = invert_factors(a)[0], invert_factors(a[:, :, row : row + 1])[0]
    np.testing.assert_array_equal(among[:, :, row], alone[:, :, 0])
    several = apply_factors(among, z[:common, 0], z[common:])
    one = apply_factors(alone, z[:common, 0], z[common:, row : row + 1])
    np.testing.assert_array_equal(several[:, row], one[:, 0])
    np.testing.assert_array_equal(sum_rows(several * several)[row], sum_rows(one * one)[0])


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (5,)])
def test_products_are_those_of_numpy(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(6, shape[0])), rng.normal(size=shape)
    np.testing.assert_allclose(multiply(a, b), a @ b)
    assert sum_rows(np.zeros((0, 3))).tolist() == [0.0] * 3
