"""The always-valid comparison: identities, and an independent plain implementation by numerical integration."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.errors import EvaluationError
from bandits.monitoring.sequential_test import (
    PRIOR,
    Comparison,
    Counts,
    Evidence,
    compare_canary,
    evidence_of_worse,
)
from bandits.policy import FloatArray

ALPHA = 0.05
NOTHING = Counts(0, 0)
CASES = [
    (Counts(40, 2), Counts(400, 60)),
    (Counts(400, 60), Counts(40, 2)),
    (Counts(1, 0), Counts(1, 1)),
    (Counts(30, 0), Counts(20, 20)),
    (Counts(25, 0), Counts(300, 21)),
    (Counts(60, 50), Counts(60, 60)),
    (Counts(0, 0), Counts(50, 20)),
    (Counts(50, 20), Counts(0, 0)),
    (Counts(90, 12), Counts(100, 12)),
    (Counts(100, 3), Counts(100, 95)),
]
counts = st.integers(0, 3_000).flatmap(lambda n: st.builds(Counts, st.just(n), st.integers(0, n)))


def likelihood(counts: Counts, p: FloatArray) -> FloatArray:
    value: FloatArray = p**counts.acceptances * (1 - p) ** (counts.observations - counts.acceptances)
    return value


def mixture(counts: Counts, prior: tuple[float, float]) -> float:
    """The likelihood averaged over the prior, by the midpoint rule in ``u``, where ``p = sin(u) ** 2``."""
    a, b = prior
    steps = 20_000
    u = (np.arange(steps) + 0.5) * (math.pi / 2 / steps)
    p = np.sin(u) ** 2
    density = 2 * np.sin(u) ** (2 * a - 1) * np.cos(u) ** (2 * b - 1)
    return float((likelihood(counts, p) * density).sum() / density.sum())


def plain_e_value(
    canary: Counts, champion: Counts, margin: float, prior: tuple[float, float] = PRIOR
) -> float:
    """The least average over a grid of the null. For each champion's rate the least E of the canary is what counts."""
    p = np.unique(np.concatenate([np.linspace(0, 1, 20_001), np.geomspace(1e-7, 1e-2, 2_000)]))
    with np.errstate(divide="ignore", over="ignore"):
        e_c = mixture(canary, prior) / likelihood(canary, p)
        least_c = np.minimum.accumulate(e_c[::-1])[::-1]  # over all canary's rates from this one upwards
        q = np.concatenate([p + margin, p[p < margin]])  # below the margin the canary's rate may be anything
        least_c = np.concatenate([least_c, np.full(np.count_nonzero(p < margin), least_c[0])])[q <= 1]
        e_k = mixture(champion, prior) / likelihood(champion, q[q <= 1])
        return float(np.min(least_c + e_k + least_c * e_k) / 3)


@pytest.mark.parametrize("margin", [0.0, 0.02, 0.3, 0.7])
@pytest.mark.parametrize(("canary", "champion"), CASES)
def test_it_equals_the_plain_implementation(canary: Counts, champion: Counts, margin: float) -> None:
    e_value = evidence_of_worse(canary, champion, margin=margin).e_value
    plain = plain_e_value(canary, champion, margin)
    assert e_value == pytest.approx(plain, rel=5e-3)
    assert e_value <= plain * (1 + 1e-6)  # the grid can only miss the least


def test_the_prior_is_the_one_given() -> None:
    canary, champion = CASES[0]
    for prior in [(0.5, 0.5), (1.0, 1.0), (3.0, 20.0)]:
        assert evidence_of_worse(canary, champion, prior=prior).e_value == pytest.approx(
            plain_e_value(canary, champion, 0.0, prior), rel=5e-3
        )


def test_without_observations_nothing_is_known() -> None:
    nothing = compare_canary(NOTHING, NOTHING)
    assert (nothing.worse.e_value, nothing.worse.p_value, nothing.worse.rejected) == (1.0, 1.0, False)
    assert nothing.better == nothing.worse
    assert (nothing.canary, nothing.champion, nothing.difference) == ((0, 1), (0, 1), (-1, 1))


@given(counts, counts, st.sampled_from([0.0, 0.01, 0.2]))
def test_exchanging_the_arms_exchanges_worse_and_better(a: Counts, b: Counts, margin: float) -> None:
    one, other = compare_canary(a, b, margin=margin), compare_canary(b, a, margin=margin)
    assert (one.worse, one.better) == (other.better, other.worse)
    assert (one.canary, one.champion) == (other.champion, other.canary)
    assert one.difference == (-other.difference.high, -other.difference.low)
    assert min(one.worse.log_e, one.better.log_e) <= 0.0  # never both


@given(counts, counts, st.floats(0, 0.9), st.floats(0.001, 0.5))
def test_the_difference_tells_the_same_as_the_test(a: Counts, b: Counts, margin: float, alpha: float) -> None:
    seen = compare_canary(a, b, margin=margin, alpha=alpha)
    low, high = seen.difference
    assert -1 <= low <= high <= 1
    if abs(high + margin) > 1e-9:
        assert seen.worse.rejected == (high < -margin)
    if abs(low - margin) > 1e-9:
        assert seen.better.rejected == (low > margin)
    if a.observations and b.observations:
        assert low <= a.acceptances / a.observations - b.acceptances / b.observations <= high


@given(counts, counts, st.floats(0, 0.9))
def test_a_margin_only_takes_evidence_away(a: Counts, b: Counts, margin: float) -> None:
    assert evidence_of_worse(a, b, margin=margin).log_e <= evidence_of_worse(a, b).log_e + 1e-9


@given(counts, counts)
def test_a_canary_that_accepts_more_is_never_called_worse(a: Counts, b: Counts) -> None:
    if a.acceptances * b.observations >= b.acceptances * a.observations:
        assert evidence_of_worse(a, b).log_e <= 0.0


@given(counts, st.floats(0.001, 0.5))
def test_the_ends_of_a_rate_are_where_its_martingale_reaches_the_limit(seen: Counts, alpha: float) -> None:
    low, high = compare_canary(seen, NOTHING, alpha=alpha).canary
    n, s = seen
    a, b = PRIOR
    assert 0 <= low <= high <= 1
    for end, border in ((low, 0.0), (high, 1.0)):
        if end == border:
            assert (s if border == 0.0 else n - s) == 0 or n == 0  # the likelihood of the border is not zero
            continue
        predictions = [math.log((a + i) / (a + b + i)) for i in range(s)]
        predictions += [math.log((b + i) / (a + b + s + i)) for i in range(n - s)]
        log_e = (
            sum(predictions) - (s * math.log(end) if s else 0) - ((n - s) * math.log1p(-end) if n - s else 0)
        )
        assert log_e == pytest.approx(-math.log(alpha), abs=1e-6)


def test_one_more_observation_is_a_fair_bet() -> None:
    """At every rate the next value of the arm's martingale is expected to be the present one: so is the average."""
    a, b = PRIOR
    for n, s in [(0, 0), (3, 1), (40, 0), (40, 40)]:
        for p in (0.01, 0.3, 0.9):
            up, down = (a + s) / (a + b + n), (b + n - s) / (a + b + n)
            assert p * (up / p) + (1 - p) * (down / (1 - p)) == pytest.approx(1.0)
    for m, bad in pairwise([10, 20, 40, 80]):  # and evidence does grow with observations
        assert (
            evidence_of_worse(Counts(bad, 0), Counts(1000, 300)).log_e
            > evidence_of_worse(Counts(m, 0), Counts(1000, 300)).log_e
        )


@pytest.mark.parametrize("n", [10**3, 10**6, 10**9])
@pytest.mark.parametrize("rate", [0.0, 0.001, 0.5, 1.0])
def test_it_is_robust_for_many_observations(n: int, rate: float) -> None:
    champion, canary = Counts(n, round(n * rate)), Counts(n, n - round(n * rate))
    seen: Comparison = compare_canary(canary, champion)
    assert all(math.isfinite(e.log_e) and math.isfinite(e.e_value) for e in (seen.worse, seen.better))
    assert 0 < seen.worse.p_value <= 1
    assert seen.worse.rejected == (rate > 0.5)
    assert seen.better.rejected == (rate < 0.5)
    assert seen.canary.high - seen.canary.low < 12 / math.sqrt(n)


def test_the_cost_of_not_knowing_the_rate_follows_its_expansion() -> None:
    """``log M - log sup L`` tends to ``log prior(rate) + log(2 pi rate (1 - rate) / n) / 2``: Laplace."""
    for n in (10**7, 10**9):
        seen, rate = Counts(n, n // 4), 0.25
        density = (1 - rate) / math.sqrt(rate) / (math.gamma(0.5) * math.gamma(2) / math.gamma(2.5))
        regret = math.log(density) + 0.5 * math.log(2 * math.pi * rate * (1 - rate) / n)
        expected = math.log((1 + 2 * math.exp(regret)) / 3)  # an unseen arm counts as 1
        assert evidence_of_worse(seen, NOTHING).log_e == pytest.approx(expected, abs=1e-8)
        both = math.log((2 * math.exp(regret) + math.exp(2 * regret)) / 3)
        assert evidence_of_worse(seen, seen).log_e == pytest.approx(both, abs=1e-4)


@pytest.mark.parametrize(("share", "saved"), [(0.01, 0.3), (0.05, 0.15), (0.5, -0.15)])
def test_what_the_average_saves_over_the_product_alone(share: float, saved: float) -> None:
    """On expected counts, with a canary of half the acceptance: the reason not to use universal inference as it is."""

    def expected(n_c: int) -> tuple[Counts, Counts]:
        n_k = round(n_c / share * (1 - share))
        return Counts(n_c, round(0.05 * n_c)), Counts(n_k, round(0.1 * n_k))

    def product(n_c: int) -> float:
        canary, champion = expected(n_c)
        n, s = (x + y for x, y in zip(canary, champion, strict=True))
        a, b = PRIOR

        def log_beta(x: float, y: float) -> float:
            return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

        mixtures = sum(log_beta(a + y, b + x - y) - log_beta(a, b) for x, y in (canary, champion))
        return mixtures - s * math.log(s / n) - (n - s) * math.log(1 - s / n)

    sizes = range(100, 1500, 20)
    ours = next(n for n in sizes if evidence_of_worse(*expected(n)).rejected)
    alone = next(n for n in sizes if product(n) >= math.log(1 / ALPHA))
    assert ours <= (1 - saved) * alone


def test_evidence_is_cut_off_where_it_would_not_be_finite() -> None:
    certain = Evidence(log_e=1e6, alpha=ALPHA)
    assert 0 < certain.p_value < 1e-300
    assert math.isfinite(certain.e_value)
    assert Evidence(math.log(20), ALPHA).rejected
    assert not Evidence(math.log(19.99), ALPHA).rejected
    assert Evidence(math.log(40), ALPHA).p_value == pytest.approx(1 / 40)
    assert Evidence(-3.0, ALPHA).p_value == 1.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"canary": Counts(-1, 0)}, "canary.observations"),
        ({"canary": Counts(3, 4)}, "canary.acceptances"),
        ({"champion": Counts(3, -1)}, "champion.acceptances"),
        ({"champion": Counts(3.5, 1)}, "champion.observations"),  # type: ignore[arg-type]
        ({"champion": Counts(3, math.nan)}, "champion.acceptances"),  # type: ignore[arg-type]
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 1.0}, "alpha"),
        ({"alpha": math.nan}, "alpha"),
        ({"margin": -0.1}, "margin"),
        ({"margin": 1.0}, "margin"),
        ({"margin": math.nan}, "margin"),
        ({"prior": (0.0, 1.0)}, "prior"),
        ({"prior": (1.0, math.inf)}, "prior"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    arguments: dict[str, Any] = {"canary": Counts(3, 1), "champion": Counts(3, 1), **change}
    for function in (compare_canary, evidence_of_worse):
        with pytest.raises(EvaluationError, match=rf"^{named}"):
            function(**arguments)


def test_numpy_integers_are_whole_numbers() -> None:
    seen = evidence_of_worse(Counts(np.int64(100), np.int64(1)), Counts(np.int64(900), np.int64(200)))  # type: ignore[arg-type]
    assert seen == evidence_of_worse(Counts(100, 1), Counts(900, 200))
