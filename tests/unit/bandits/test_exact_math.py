"""Functions in a fixed order of exact steps: as accurate as those of libm, for numbers and for arrays alike."""

import math

import numpy as np
import pytest

from bandits.exact_math import (
    EXP2_SCALE,
    apply_factors,
    apply_transposed_factors,
    asinh_of,
    exp,
    exp2_of,
    exp_of,
    inverses_of_factors,
    invert_factors,
    log,
    log_of,
    multiply,
    power_of,
    scaled_exp2_float32,
    sin_cos_of_turns,
    sum_rows,
)

random = np.random.default_rng(5)


def test_exp_and_log_are_within_two_units_in_the_last_place() -> None:
    x = random.uniform(-40.0, 40.0, 5_000)
    positive = np.exp(random.uniform(-600.0, 600.0, 5_000))

    assert np.abs(exp(x) / np.exp(x) - 1.0).max() < 5e-16
    assert np.abs(log(positive) - np.log(positive)).max() < 2.5e-13  # two units of 600
    assert [exp_of(v) for v in x.tolist()] == exp(x).tolist()
    assert [log_of(v) for v in positive.tolist()] == log(positive).tolist()
    assert (exp_of(0.0), log_of(1.0)) == (1.0, 0.0)


def test_powers_of_two_are_exact_for_whole_numbers_and_double_exactly() -> None:
    assert [exp2_of(float(k)) for k in range(-40, 40)] == [2.0**k for k in range(-40, 40)]
    assert exp2_of(1.3) == pytest.approx(2.0**1.3, rel=4e-16)
    t = random.uniform(-100.0, 100.0, 5_000).astype(np.float32)
    assert (
        np.abs(scaled_exp2_float32(t.copy()) / EXP2_SCALE / np.exp2(t.astype(np.float64)) - 1.0).max() < 4e-7
    )
    assert power_of(7.0, 1.3) == pytest.approx(7.0**1.3, rel=1e-13)
    assert (power_of(9.0, 0.5), power_of(0.0, 2.0), power_of(5.0, 0.0)) == (3.0, 0.0, 1.0)


def test_sine_cosine_and_asinh_are_those_of_libm_to_rounding() -> None:
    for turns in random.uniform(0.0, 2.0, 1_000).tolist():
        angle = 2.0 * math.pi * turns
        assert sin_cos_of_turns(turns) == pytest.approx((math.sin(angle), math.cos(angle)), abs=4e-15)
    assert sin_cos_of_turns(0.25) == (1.0, 0.0)
    for x in (0.0, 1e-9, -0.3, 2.5, -1e5, 1e300):
        assert asinh_of(x) == pytest.approx(math.asinh(x), rel=4e-16)


@pytest.mark.parametrize("size", [1, 2, 9, 30])
def test_factors_give_the_inverse_whatever_else_is_factored(size: int) -> None:
    made = random.normal(size=(70, size, size))
    matrices = made @ made.transpose(0, 2, 1) + 0.1 * np.eye(size)
    a = matrices.transpose(1, 2, 0)
    b = random.normal(size=(size, 70))

    factors, pivots = invert_factors(a)
    alone, _ = invert_factors(a[:, :, 7:8])

    assert alone[:, :, 0].tobytes() == factors[:, :, 7].tobytes()
    assert inverses_of_factors(factors).transpose(2, 0, 1) == pytest.approx(np.linalg.inv(matrices), rel=1e-6)
    assert sum_rows(np.log(pivots)) == pytest.approx(np.linalg.slogdet(matrices)[1])
    solved = apply_transposed_factors(factors, apply_factors(factors, b[:0, 0], b))
    assert np.einsum("oij,jo->io", matrices, solved) == pytest.approx(b, rel=1e-6, abs=1e-6)


def test_sums_and_products_do_not_depend_on_what_stands_beside() -> None:
    terms = random.normal(size=(40, 9))
    total = sum_rows(terms)

    for column in range(9):
        in_order = 0.0
        for term in terms[:, column].tolist():
            in_order += term
        assert total[column] == in_order == sum_rows(terms[:, column : column + 1])[0]
    a, b = random.normal(size=(5, 7)), random.normal(size=(7, 4))
    assert multiply(a, b) == pytest.approx(a @ b)
    assert multiply(a, b[:, 0]) == pytest.approx(a @ b[:, 0])
