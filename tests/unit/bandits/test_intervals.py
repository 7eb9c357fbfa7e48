"""Wilson's interval and that of a mean: identities, and the coverage that they are used for."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.intervals import (
    Z95,
    mean_intervals,
    newcombe_interval,
    newcombe_intervals,
    wilson_interval,
    wilson_intervals,
)

TRIALS = st.integers(0, 10**9).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials)))
PAIRS = st.lists(st.tuples(TRIALS, TRIALS).map(lambda pair: (*pair[0], *pair[1])), min_size=1)
SUMS = st.lists(
    st.tuples(
        st.floats(-1e9, 1e9), st.one_of(st.none(), st.floats(0, 1e12)), st.integers(0, 10**9)
    ),
    min_size=1,
)  # fmt: skip


def mean_interval(total: float, squares: float | None, count: int) -> tuple[float | None, ...]:
    """The mean of one sum, with its interval, worked out as the formula says."""
    if count <= 0:
        return None, None, None
    mean = total / count
    if squares is None or count < 2:
        return mean, None, None
    half = Z95 * math.sqrt(max(squares - total * mean, 0.0) / (count - 1) / count)
    return mean, mean - half, mean + half


def rows_of(columns: tuple[np.ndarray, ...]) -> list[tuple[float | None, ...]]:
    """Rows of columns, with ``None`` for NaN."""
    return [tuple(None if math.isnan(v) else v for v in row) for row in np.array(columns).T.tolist()]


def mean_of(total: float, squares: float | None, count: int) -> tuple[float | None, ...]:
    """The mean of one sum, with its interval, as that of many is computed."""
    totals, known_squares, counts = (np.array([value], float) for value in (total, squares, count))
    (found,) = rows_of(mean_intervals(totals, known_squares, counts))
    return found


@given(PAIRS)
def test_intervals_of_many_proportions_are_those_of_each_to_the_last_bit(
    rows: list[tuple[int, int, int, int]],
) -> None:
    columns = np.array(rows, float).T
    assert rows_of(wilson_intervals(*columns[:2])) == [wilson_interval(*row[:2]) for row in rows]
    assert rows_of(newcombe_intervals(*columns)) == [newcombe_interval(*row) for row in rows]


@given(SUMS)
def test_intervals_of_many_means_are_those_of_each_to_the_last_bit(
    rows: list[tuple[float, float | None, int]],
) -> None:
    assert rows_of(mean_intervals(*np.array(rows, float).T)) == [mean_interval(*row) for row in rows]


@pytest.mark.parametrize(("successes", "trials"), [(1, 10), (5, 10), (30, 1000), (0.25, 3.7), (999, 1000)])
def test_the_ends_are_where_the_score_test_just_rejects(successes: float, trials: float) -> None:
    """Wilson's ends solve ``|rate - p| = z sqrt(p (1 - p) / n)``: the definition of the interval."""
    rate, low, high = wilson_interval(successes, trials)
    assert rate == successes / trials
    assert low < rate < high
    for end in (low, high):
        assert abs(rate - end) == pytest.approx(Z95 * math.sqrt(end * (1 - end) / trials), rel=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (7, 20), (0, 1)])
def test_success_and_failure_mirror_each_other(successes: float, trials: float) -> None:
    rate, low, high = wilson_interval(successes, trials)
    mirrored, mirrored_low, mirrored_high = wilson_interval(trials - successes, trials)
    assert rate is not None
    assert mirrored == pytest.approx(1 - rate)
    assert (mirrored_low, mirrored_high) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_at_the_borders_it_stays_inside_zero_and_one() -> None:
    assert wilson_interval(0, 0) == (None, 0.0, 1.0)
    assert wilson_interval(1, -1) == (None, 0.0, 1.0)
    rate, low, high = wilson_interval(0, 100)
    assert rate == 0.0
    assert low == pytest.approx(0.0, abs=1e-15)
    assert high == pytest.approx(Z95**2 / (100 + Z95**2))  # the closed form for no success
    assert wilson_interval(100, 100)[2] <= 1.0
    assert wilson_interval(100.0000001, 100)[0] == 1.0  # decayed sums may differ by rounding


def test_it_narrows_with_the_square_root_of_trials() -> None:
    _, low, high = wilson_interval(1e5, 1e6)
    _, wide_low, wide_high = wilson_interval(1e3, 1e4)
    assert (wide_high - wide_low) / (high - low) == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
def test_its_coverage_is_near_nominal_on_average(rate: float) -> None:
    """Exact, by summing over all outcomes, and averaged over sample sizes: coverage oscillates with each size."""
    covered = []
    for trials in range(50, 100):
        chance = np.exp(
            [
                math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
                + k * math.log(rate) + (trials - k) * math.log(1 - rate)
                for k in range(trials + 1)
            ]
        )  # fmt: skip
        inside = [
            wilson_interval(k, trials)[1] <= rate <= wilson_interval(k, trials)[2] for k in range(trials + 1)
        ]
        covered.append(float(chance @ np.array(inside)))
    assert 0.94 < np.mean(covered) < 0.97


def test_the_interval_of_a_mean_is_that_of_its_values() -> None:
    values = np.array([0, 0, 3.5, 0, 12, -2.25, 0])
    half = Z95 * np.std(values, ddof=1) / math.sqrt(len(values))
    found = mean_of(values.sum(), (values**2).sum(), len(values))
    assert found == pytest.approx((values.mean(), values.mean() - half, values.mean() + half))


def test_the_interval_of_a_mean_needs_two_values_and_their_squares() -> None:
    assert mean_of(0, 0, 0) == (None, None, None)
    assert mean_of(3, 9, 1) == (3, None, None)
    assert mean_of(6, None, 2) == (3, None, None)
    mean, low, high = mean_of(0.1 * 3, 0.1**2 * 3, 3)  # rounding must not make the variance negative
    assert (mean, low, high) == pytest.approx((0.1, 0.1, 0.1))


def test_the_interval_of_a_mean_covers_the_truth_where_values_are_mostly_nothing() -> None:
    rng = np.random.default_rng(5)
    values = rng.binomial(1, 0.1, (2000, 1000)) * rng.exponential(20, (2000, 1000))
    _, low, high = mean_intervals(values.sum(1), (values**2).sum(1), np.full(2000, 1000.0))
    assert np.mean((low <= 2) & (high >= 2)) == pytest.approx(0.95, abs=0.02)
