"""A test of whether a canary is worse than its champion that stays valid however often one looks.

Two streams of accepts and rejects are compared by an *e-process*: a number that starts at 1 and, as long as the null
hypothesis holds, reaches ``1 / alpha`` at *any* time with a chance of at most ``alpha`` (Ville's inequality). So it
may be read after every observation, and acted upon the first time it is large.

**One arm.** With acceptance rate ``p``, the beta-binomial mixture likelihood divided by the likelihood of ``p``,

    E(p) = B(a + s, b + n - s) / B(a, b) / (p**s (1 - p)**(n - s)),

is a martingale that starts at 1, for any prior ``Beta(a, b)`` fixed beforehand (Robbins, *Statistical methods related
to the law of the iterated logarithm*, Annals of Mathematical Statistics 41, 1970). The rates with ``E(p) < 1 / alpha``
are a confidence sequence: all of them, at all times, hold the true rate with a chance of at least ``1 - alpha``
(Howard, Ramdas, McAuliffe and Sekhon, *Time-uniform, nonparametric, nonasymptotic confidence sequences*, Annals of
Statistics 49, 2021).

**Two arms.** At the true pair of rates the arms' martingales, their product, and the average of the three are
martingales too, whichever arm is observed next. The least average over a set of pairs that holds the true one cannot
exceed it: so it is an e-process for "the true pair is in this set". With the product alone this is universal inference
(Wasserman, Ramdas and Balakrishnan, PNAS 117, 2020), which pays for not knowing the champion's rate as if it were
still being learned. The average with the single arms needs a fifth fewer observations of a canary that gets 5 % of the
traffic and has half the champion's acceptance, a third fewer at 1 %, but a tenth more at even shares. Tests for 2x2
tables by blocks that hold a fixed number of observations of each arm (Turner, Ly and Gruenwald, *Generic E-variables
for exact sequential k-sample tests that allow for optional stopping*, Journal of Statistical Planning and Inference
230, 2024) would not fit traffic whose shares change.

**What is assumed.** Each arm's acceptance rate stays the same while it is counted, and observations are independent.
The shares of traffic may change at will, also in response to what was seen. Where acceptance itself moves with time, do
not add up counts from before and after a change of shares (the arms would have seen different times): compare each
stage by itself and add the ``log_e`` of the stages, which is again an e-process.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from bandits.errors import EvaluationError

PRIOR = (0.5, 2.0)
"""``a, b`` of the mixture: acceptance rates lie mostly below one half. It shifts power, never validity."""

_MAX_EXPONENT = 700.0  # exp of more overflows soon; what is written as JSON must be finite
_BISECTION_STEPS = 45


class Counts(NamedTuple):
    """The outcomes of one arm: whole numbers, ``0 <= acceptances <= observations``."""

    observations: int
    acceptances: int


class Interval(NamedTuple):
    """A closed interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence against a null hypothesis, readable at any time.

    ``log_e`` is the natural logarithm of the e-value: the factor by which a bet against the null would have grown.
    """

    log_e: float
    alpha: float

    @property
    def e_value(self) -> float:
        """The e-value, cut off at ``exp(700)`` so that it is finite."""
        return math.exp(min(self.log_e, _MAX_EXPONENT))

    @property
    def p_value(self) -> float:
        """The always-valid p-value ``min(1, 1 / e)``."""
        return 1.0 / max(self.e_value, 1.0)

    @property
    def rejected(self) -> bool:
        """True if the null is rejected with high probability: ``e >= 1 / alpha``."""
        return self.log_e >= -math.log(self.alpha)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of a canary with its champion.

    ``worse`` is evidence against "the canary accepts at least the champion's rate minus ``margin``", ``better``
    against "at most the champion's rate plus ``margin``". ``canary`` and ``champion`` are confidence sequences of the
    rates, ``difference`` of canary minus champion. ``difference`` is made of the same e-process as the evidence:
    it lies below ``-margin`` exactly when ``worse.rejected``.
    """

    worse: Evidence
    better: Evidence
    canary: Interval
    champion: Interval
    difference: Interval
    alpha: float
    margin: float


def compare_canary(
    canary: Counts,
    champion: Counts,
    *,
    alpha: float = 0.05,
    margin: float = 0.0,
    prior: tuple[float, float] = PRIOR,
) -> Comparison:
    """Compare the arms in both directions, with intervals. Slower (milliseconds) than ``evidence_of_worse``.

    Parameters
    ----------
    canary, champion
        What was counted since the comparison began.
    alpha
        The chance, over all times together, of a wrong ``worse.rejected``; of a wrong ``better.rejected``; and that
        an interval ever misses: for each of them by itself. In (0, 1).
    margin
        Difference of rates that does not matter, in [0, 1).
    prior
        ``a, b`` of the beta mixture, both positive. Must not depend on what is counted here. What the champion did
        *before* may shape it.

    Raises ``EvaluationError`` if an argument is out of range; the message names it.

    Examples
    --------
    >>> seen = compare_canary(Counts(1_000, 50), Counts(19_000, 1_900))
    >>> seen.worse.rejected, seen.better.rejected
    (True, False)
    """
    forwards = evidence_of_worse(canary, champion, alpha=alpha, margin=margin, prior=prior)
    c, k = _ArmMartingale("canary", canary, prior), _ArmMartingale("champion", champion, prior)
    limit = -math.log(alpha)
    return Comparison(
        worse=forwards,
        better=Evidence(_least_log_e(k, c, -margin), alpha),
        canary=_rate_interval(c, limit),
        champion=_rate_interval(k, limit),
        difference=Interval(-_highest_difference(k, c, limit), _highest_difference(c, k, limit)),
        alpha=alpha,
        margin=margin,
    )


def evidence_of_worse(
    canary: Counts,
    champion: Counts,
    *,
    alpha: float = 0.05,
    margin: float = 0.0,
    prior: tuple[float, float] = PRIOR,
) -> Evidence:
    """Return the evidence that the canary's rate is below the champion's by more than ``margin``.

    Parameters, errors: as ``compare_canary``. Measured by ``pytest -s
    tests/unit/bandits/monitoring/test_sequential_rates.py`` at ``alpha`` 0.05. Looking after each of 3,000
    observations, 5 of 4,000 equal canaries with 5 % of the traffic were rolled back, 7 with a share that grew from 1 %
    to 50 %, and 6 with a share that favoured canaries while they looked bad. A canary with 5 % of the traffic and half
    the champion's acceptance was rolled back, in half of the runs and in 95 % of them, within 1,325 and 3,150
    observations of both arms if the champion's acceptance is 0.4, 9,000 and 17,850 if 0.1, 61,500 and 106,500 if 0.02.
    """
    _check_levels(alpha, margin)
    c, k = _ArmMartingale("canary", canary, prior), _ArmMartingale("champion", champion, prior)
    return Evidence(_least_log_e(c, k, -margin), alpha)


def evidence_of_excess(
    canary: Counts,
    champion: Counts,
    *,
    alpha: float = 0.05,
    margin: float = 0.0,
    prior: tuple[float, float] = PRIOR,
) -> Evidence:
    """Return the evidence that something bad happens to the canary more often than to the champion, by ``margin``.

    The same e-process with the arms exchanged: ``acceptances`` are what is bad, such as failures. A champion that has
    no observations is taken for one to which it never happens. Parameters, errors: as ``compare_canary``.

    Examples
    --------
    >>> evidence_of_excess(Counts(100, 10), Counts(900, 9), margin=0.01).rejected
    True
    """
    if champion.observations:
        return evidence_of_worse(champion, canary, alpha=alpha, margin=margin, prior=prior)
    _check_levels(alpha, margin)
    c = _ArmMartingale("canary", canary, prior)
    return Evidence(c.log_e(margin) if c.n and c.rate > margin else c.regret, alpha)


class _ArmMartingale:
    """One arm's martingale, ``log E(p) = regret + n KL(rate, p)``: free of the cancellation of huge likelihoods.

    ``regret`` (never positive) is what not having known the rate costs.
    """

    __slots__ = ("n", "rate", "regret")

    def __init__(self, name: str, counts: Counts, prior: tuple[float, float]) -> None:
        n, s = _checked_counts(name, counts)
        a, b = prior
        if not (0.0 < a < math.inf and 0.0 < b < math.inf):
            raise EvaluationError(f"prior must be two positive numbers, not {prior!r}")
        self.n = n
        self.rate = s / n if n else math.nan
        highest = sum(x * math.log(x / n) for x in (s, n - s) if x)
        self.regret = min(_log_beta(a + s, b + (n - s)) - _log_beta(a, b) - highest, 0.0)

    def log_e(self, p: float) -> float:
        """Return ``log E(p)``; infinite where the likelihood of ``p`` is zero."""
        if not self.n:
            return 0.0
        divergence = 0.0
        for observed, assumed in ((self.rate, p), (1.0 - self.rate, 1.0 - p)):
            if observed > 0.0:
                divergence += observed * math.log(observed / assumed) if assumed > 0.0 else math.inf
        return self.regret + self.n * max(divergence, 0.0)

    def slope(self, p: float) -> float:
        """Return the derivative of ``log_e`` at ``p`` in (0, 1)."""
        return self.n * (p - self.rate) / (p * (1.0 - p)) if self.n else 0.0


def _least_log_e(first: _ArmMartingale, second: _ArmMartingale, shift: float) -> float:
    """Return ``log`` of the least average E over the null ``first >= second + shift``.

    E is convex in the pair of rates: unless the observed rates are in the null, the least is on its border.
    """
    if _observed_difference(first, second) >= shift:
        return _log_average(first.regret, second.regret)
    low, high = lowest, highest = max(0.0, shift), min(1.0, 1.0 + shift)
    for _ in range(_BISECTION_STEPS):
        p = (low + high) / 2.0
        # Rounded to a border, where slopes are infinite: nothing nearer can be found.
        if not lowest < p < highest or not 0.0 < p - shift < 1.0:
            break
        if _average_slope(first, second, p, p - shift) > 0.0:
            high = p
        else:
            low = p
    p = (low + high) / 2.0
    return _log_average(first.log_e(p), second.log_e(min(max(p - shift, 0.0), 1.0)))


def _observed_difference(first: _ArmMartingale, second: _ArmMartingale) -> float:
    """Return ``first - second`` of the likeliest rates; the highest one, where an arm has no observations."""
    return (first.rate if first.n else 1.0) - (second.rate if second.n else 0.0)


def _log_average(x: float, y: float) -> float:
    """Return ``log((exp(x) + exp(y) + exp(x + y)) / 3)``."""
    top = max(x, y, x + y)  # taken out, so that no exponential overflows
    if top == math.inf:
        return math.inf
    return top + math.log((math.exp(x - top) + math.exp(y - top) + math.exp(x + y - top)) / 3.0)


def _average_slope(first: _ArmMartingale, second: _ArmMartingale, p: float, q: float) -> float:
    """Return a number with the sign of the derivative of the average along the border."""
    x, y = first.log_e(p), second.log_e(q)
    top = max(x, y, x + y)
    both = math.exp(x + y - top)
    return (math.exp(x - top) + both) * first.slope(p) + (math.exp(y - top) + both) * second.slope(q)


def _rate_interval(arm: _ArmMartingale, limit: float) -> Interval:
    if not arm.n:
        return Interval(0.0, 1.0)
    return Interval(*(_interval_end(lambda p: arm.log_e(p) < limit, arm.rate, end) for end in (0.0, 1.0)))


def _highest_difference(first: _ArmMartingale, second: _ArmMartingale, limit: float) -> float:
    """Return the highest ``first - second`` that is not rejected."""
    observed = _observed_difference(first, second)
    return _interval_end(lambda shift: _least_log_e(first, second, shift) < limit, observed, 1.0)


def _interval_end(inside: Callable[[float], bool], start: float, end: float) -> float:
    """Return where an interval that holds ``start`` ends: the first point outside towards ``end``, or ``end``."""
    if inside(end):
        return end
    for _ in range(_BISECTION_STEPS):
        middle = (start + end) / 2.0
        if inside(middle):
            start = middle
        else:
            end = middle
    return end


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _check_levels(alpha: float, margin: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise EvaluationError(f"alpha must be in (0, 1), not {alpha!r}")
    if not 0.0 <= margin < 1.0:
        raise EvaluationError(f"margin must be in [0, 1), not {margin!r}")


def _checked_counts(name: str, counts: Counts) -> tuple[int, int]:
    numbers = []
    for field, value in zip(Counts._fields, counts, strict=True):
        try:
            numbers.append(operator.index(value))
        except TypeError:
            raise EvaluationError(f"{name}.{field} must be a whole number, not {value!r}") from None
    n, s = numbers
    if n < 0:
        raise EvaluationError(f"{name}.observations must not be negative, not {n}")
    if not 0 <= s <= n:
        raise EvaluationError(f"{name}.acceptances must be between 0 and its observations ({n}), not {s}")
    return n, s
