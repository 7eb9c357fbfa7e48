"""Compiled kernels give what numpy gives, bit for bit, and refuse arrays that are not what they work on."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bandits import compiled
from bandits.exact_math import apply_factors, apply_transposed_factors, invert_factors, log, multiply
from bandits.policy import BoolArray
from bandits.regression.design import LINKS, CandidateColumns, Design, sigmoid
from bandits.regression.posterior import Posterior
from bandits.sampling import win_frequencies_of_scores

ROOT = Path(__file__).parents[3]
kernels: Any = compiled.kernels
needs_kernels = pytest.mark.skipif(
    kernels is None, reason="no C compiler was found when nextbest was installed"
)
SIZES = st.sampled_from([1, 2, 7, 8, 9, 64, 255, 256, 257, 600])
SEEDS = st.integers(0, 2**32 - 1)


def both_ways(compute: Callable[[], Sequence[NDArray[Any]]]) -> None:
    """Compare what is computed with the kernels and without."""
    found = [np.array(array) for array in compute()]
    try:
        compiled.kernels = None
        expected = compute()
    finally:
        compiled.kernels = kernels
    assert [array.tobytes() for array in found] == [np.array(array).tobytes() for array in expected]


@needs_kernels
@given(seed=SEEDS, n=SIZES)
def test_columns_logarithms_and_chances(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    design = Design(4, 2, (2,), (3,))
    q = rng.choice([0.0, 1.0, np.nan, 0.5, 1e-7, 0.3, 0.9999999], n).astype(np.float32)
    q = np.where(rng.random(n) < 0.5, q, rng.random(n).astype(np.float32))
    positive = np.exp(rng.uniform(-745.0, 709.0, n))  # down to the least subnormal number
    both_ways(
        lambda: [np.array(design.columns(np.array([0.7]), q).own), log(positive), sigmoid(rng.normal(size=0))]
    )
    wide = rng.normal(size=n) * 25.0
    both_ways(lambda: [sigmoid(wide), sigmoid(np.array(0.3)), log(positive[::2])])


@needs_kernels
@given(seed=SEEDS, n=SIZES, width=st.integers(1, 9), data=st.data())
def test_factors_and_predictions(seed: int, n: int, width: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    k = data.draw(st.integers(0, width))
    a = rng.normal(size=(width, width, n))
    a = np.einsum("ijn,kjn->ikn", a, a) + 0.1 * np.eye(width)[:, :, None]
    if data.draw(st.booleans()):  # singular, but for rounding
        a[:, -1] = a[:, 0]
        a[-1] = a[0]
    common, own = rng.choice([0.0, 1.0, -0.4], k), rng.normal(size=(width - k, n))
    both_ways(lambda: invert_factors(a))
    factors, _ = invert_factors(a)
    both_ways(lambda: [apply_factors(factors, common, own)])
    rows = rng.choice([0.0, -0.0, 1.0, 0.3], (width, n)) * rng.normal(size=(width, n))
    both_ways(lambda: [apply_transposed_factors(factors, rows)])
    both_ways(lambda: [multiply(factors[:, :, 0].T, rows), multiply(-rows.T[:5], rows)])
    weights = rng.normal(size=(width, n))
    posterior = Posterior(np.zeros((n, 1)), factors, weights, weights)
    z, noise = CandidateColumns(common, own if k < width else None), rng.random(n)
    both_ways(lambda: posterior.predict(z, noise))


@needs_kernels
@given(seed=SEEDS, n=SIZES, draws=st.sampled_from([1, 8, 128]), share=st.floats(0.0, 1.0))
def test_draws_and_their_winners(seed: int, n: int, draws: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    mean, spread = rng.normal(size=n) * 20.0, rng.exponential(size=n) * 5.0
    normal = rng.normal(size=(draws, n)).astype(np.float32)
    weight = rng.choice([0.0, 1e-30, 1.0, 7.0, 1e6], n).astype(np.float32)
    both_ways(lambda: [LINKS["logistic"].weighted_draws(mean, spread, normal, weight)])
    scores = LINKS["logistic"].weighted_draws(mean, spread, normal, weight)
    available: BoolArray = rng.random(n) < share
    available[rng.integers(n)] = True
    equals = rng.integers(0, 3, (draws, n)).astype(np.float32)  # ties: the first of equals wins
    both_ways(
        lambda: [win_frequencies_of_scores(drawn, weight, 0.01)(available) for drawn in (scores, equals)]
    )


@needs_kernels
def test_arrays_of_other_sizes_or_types_are_refused_and_nothing_is_written() -> None:
    doubles, floats, out = np.ones(4), np.ones(4, dtype=np.float32), np.zeros((2, 4))
    mistakes: tuple[Callable[[], object], ...] = (
        lambda: kernels.propensity_columns(doubles, out),
        lambda: kernels.propensity_columns(floats[:3], out),
        lambda: kernels.sigmoid(doubles, np.zeros(3)),
        lambda: kernels.log(floats, np.zeros(4)),
        lambda: kernels.log(np.ones(4, np.int64), np.zeros(4)),
        lambda: kernels.count_wins(np.ones((3, 4), np.float32), np.ones(4, np.int8), doubles),
        lambda: kernels.predict(np.ones((2, 2, 4)), out, doubles, np.ones(3), None, doubles, doubles),
        lambda: kernels.predict(np.ones((2, 2, 4)), out, doubles, np.ones(1), None, doubles, doubles),
        lambda: kernels.predict(np.ones((2, 2, 3)), out, doubles, np.ones(2), None, doubles, doubles),
        lambda: kernels.apply_factors(np.ones((2, 2, 4)), np.ones(2), None, np.zeros((2, 3))),
        lambda: kernels.apply_transposed_factors(np.ones((2, 2, 4)), np.ones((2, 3)), out),
        lambda: kernels.apply_transposed_factors(np.ones((2, 2, 3)), np.ones((2, 4)), out),
        lambda: kernels.apply_transposed_factors(np.ones((3, 3, 2)), np.ones((3, 2)), np.zeros(7)),
        lambda: kernels.multiply(np.ones((2, 3)), np.ones((2, 4)), out),
        lambda: kernels.multiply(np.ones((2, 3)), np.ones((3, 3)), out),
        lambda: kernels.multiply(np.ones((2, 0)), np.ones((0, 4)), out),
        lambda: kernels.multiply(floats, np.ones((1, 4)), out),
        lambda: kernels.invert_factors(np.ones((4, 2, 2)), np.zeros((2, 2, 3)), out),
        lambda: kernels.logistic_draws(doubles, doubles, np.ones((3, 3), np.float32), floats, out),
        lambda: kernels.count_wins(np.ones((3, 4), np.float32), np.ones(3, dtype=bool), doubles),
        lambda: kernels.count_wins(np.ones((3, 0), np.float32), np.ones(0, dtype=bool), np.zeros(0)),
    )
    for wrong in mistakes:
        with pytest.raises(ValueError, match=r"."):
            wrong()
    with pytest.raises(ValueError, match="contiguous"):
        kernels.sigmoid(np.ones(8)[::2], np.zeros(4))
    with pytest.raises(TypeError, match="arguments are needed"):
        kernels.sigmoid(doubles)
    with pytest.raises(TypeError):
        kernels.sigmoid(3, doubles)
    assert not out.any()
    assert doubles.tolist() == [1.0] * 4


def test_the_environment_switches_them_off() -> None:
    code = "from bandits import compiled; raise SystemExit(compiled.kernels is not None)"
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, cwd=ROOT, env={"NEXTBEST_COMPILED": "0"}, timeout=60)


def test_they_are_there_where_a_compiler_is() -> None:
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    possible = shutil.which(compiler) is not None and header.exists()
    assert kernels is not None or not possible or os.environ.get("NEXTBEST_COMPILED") == "0"


@needs_kernels
def test_arrays_in_another_order_are_taken_as_numpy_takes_them() -> None:
    rng = np.random.default_rng(3)
    scores, weight = rng.random((7, 40)).astype(np.float32).T, np.ones(7, np.float32)
    available = np.ones(14, dtype=bool)[::2]
    both_ways(lambda: [win_frequencies_of_scores(scores, weight, 0.01)(available)])
    draws = rng.normal(size=(7, 40)).astype(np.float32).T
    both_ways(lambda: [LINKS["logistic"].weighted_draws(np.zeros(7), np.ones(7), draws, weight)])
