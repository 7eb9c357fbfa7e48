"""The always-valid test as it is used: looked at after every observation. All streams are seeded.

With ``-s`` the measured rates are printed.
"""

from collections.abc import Callable

import numpy as np
import pytest

from bandits.monitoring.sequential_test import PRIOR, Counts, evidence_of_worse
from bandits.policy import BoolArray, FloatArray

ALPHA = 0.05
A, B = PRIOR


class Arms:
    """Many runs side by side, with each arm's mixture kept as a product of one-step predictions."""

    def __init__(self, runs: int) -> None:
        self.n = np.zeros((2, runs))  # canary, champion
        self.s = np.zeros((2, runs))
        self.mixture = np.zeros((2, runs))
        self._columns = np.arange(runs)

    def observe(self, arm: BoolArray, accepted: BoolArray) -> None:
        """``arm``: true where it is the champion's turn."""
        at = (arm.astype(np.intp), self._columns)
        n, s = self.n[at], self.s[at]
        self.mixture[at] += np.log(np.where(accepted, A + s, B + n - s) / (A + B + n))
        self.n[at] += 1
        self.s[at] += accepted

    def bound(self) -> FloatArray:
        """At least ``log e``: the average of martingales at one point of the null, both rates the pooled one."""
        p = np.clip(self.s.sum(axis=0) / self.n.sum(axis=0), 1e-12, 1 - 1e-12)
        x, y = self.mixture - self.s * np.log(p) - (self.n - self.s) * np.log1p(-p)
        bound: FloatArray = np.logaddexp(np.logaddexp(x, y), x + y) - np.log(3)
        return np.where(self.s[0] * self.n[1] < self.s[1] * self.n[0], bound, -np.inf)

    def rolled_back(self, run: int) -> bool:
        (n_c, n_k), (s_c, s_k) = self.n[:, run], self.s[:, run]
        return evidence_of_worse(Counts(int(n_c), int(s_c)), Counts(int(n_k), int(s_k)), alpha=ALPHA).rejected


def constant(step: int, arms: Arms) -> float | FloatArray:
    return 0.05


def growing(step: int, arms: Arms) -> float | FloatArray:
    """Shares as they are raised in the life of a canary."""
    return (0.01, 0.05, 0.25, 0.5)[step // 750]


def adversarial(step: int, arms: Arms) -> float | FloatArray:
    """More traffic for the canary while it looks bad, hardly any while it looks good."""
    return np.where(arms.s[0] * arms.n[1] < arms.s[1] * arms.n[0], 0.5, 0.02)


@pytest.mark.parametrize(
    ("share", "rate", "seed"), [(constant, 0.1, 1), (growing, 0.1, 2), (adversarial, 0.3, 3)]
)
def test_an_equal_canary_is_hardly_ever_rolled_back_under_constant_peeking(
    share: Callable[[int, Arms], float | FloatArray], rate: float, seed: int
) -> None:
    runs, looks = 4_000, 3_000
    rng = np.random.default_rng(seed)
    arms, stopped = Arms(runs), np.zeros(runs, dtype=bool)
    for step in range(looks):
        champion = rng.random(runs) >= share(step, arms)
        arms.observe(champion, rng.random(runs) < rate)
        for run in np.flatnonzero((arms.bound() >= -np.log(ALPHA)) & ~stopped):
            stopped[run] = arms.rolled_back(int(run))
    print(f"{share.__name__}: {stopped.sum()} of {runs} equal canaries rolled back")  # noqa: T201
    assert stopped.mean() <= ALPHA


def test_a_naive_test_would_fail_the_same_peeking() -> None:
    """The streams above do tempt: a two-proportion z test at the same level, looked at as often, errs far more."""
    runs, looks, rng = 2_000, 3_000, np.random.default_rng(1)
    arms, stopped = Arms(runs), np.zeros(runs, dtype=bool)
    for step in range(looks):
        arms.observe(rng.random(runs) >= 0.05, rng.random(runs) < 0.1)
        if step < 200:
            continue
        n, s = arms.n, arms.s
        p = s.sum(axis=0) / n.sum(axis=0)
        z = (s[0] / n[0].clip(1) - s[1] / n[1]) / np.sqrt(p * (1 - p) * (1 / n[0].clip(1) + 1 / n[1]))
        stopped |= z < -1.645
    assert stopped.mean() > 3 * ALPHA


@pytest.mark.parametrize(("rate", "within"), [(0.4, 5_000), (0.1, 25_000), (0.02, 150_000)])
def test_a_canary_with_half_the_acceptance_is_rolled_back(rate: float, within: int) -> None:
    """5 % of the traffic goes to the canary; ``within`` counts the observations of both arms. Looks: 100, evenly."""
    runs, looks, rng = 200, 100, np.random.default_rng(4)
    needed = []
    for _ in range(runs):
        n = rng.binomial(within // looks, 0.05, looks)
        s, s_k = rng.binomial(n, rate / 2), rng.binomial(within // looks - n, rate)
        counts = np.cumsum([n, s, within // looks - n, s_k], axis=1).T.tolist()
        found = (
            i
            for i, (a, b, c, d) in enumerate(counts, 1)
            if evidence_of_worse(Counts(a, b), Counts(c, d)).rejected
        )
        needed.append(next(found, looks + 1) * (within // looks))
    print(f"{rate}: median {np.median(needed)}, 95 % {np.quantile(needed, 0.95)}")  # noqa: T201
    assert np.mean(np.array(needed) <= within) >= 0.95
