"""Intervals of off-policy estimates that hold for narrow, skewed and small logs, or a reason why there is none.

The normal interval takes the spread of the rows that were seen for the spread of all. Where a few rows carry the
weight, or few rewards are not zero, the rows that would widen it are mostly not seen: it is too narrow.

**Empirical likelihood.** A value ``v`` stays in the interval unless a bet against it pays. Let ``P`` be a payoff of
one unit of the log whose mean is at most 0 if ``v`` is the value, and that never falls below ``-M``. The bet multiplies
what it has by ``1 + x P``, with one stake ``x`` in ``[0, 1 / M)`` for all units: whatever is left is never negative,
and has a mean of at most 1. The logarithm of what the best stake leaves is the empirical likelihood ratio of ``v``
among all distributions on what rewards and weights *can* be, seen or not (Karampatziakis, Langford and Mineiro,
*Empirical likelihood for contextual bandits*, NeurIPS 2020; Owen, *Empirical likelihood*, 2001). ``v`` is rejected
where it exceeds

    min(log(4 / alpha), z**2 / 2 (1 + 8 / m)),

with ``m`` the number of equal units that would carry the payoff: ``sum(P**2) / M**2`` or ``sum(P**2)**2 / sum(P**4)``,
whichever is less. For many units this is Wilks' limit ``z**2 / 2``; its remainder is of the order ``1 / m``, and the
factor 8 was chosen by measurement (``python -m benchmarks.ope_intervals``). For few it is the bound that holds at any
number of units for a stake that is fixed beforehand, two of them at each end (Markov's inequality; Waudby-Smith and
Ramdas, *Estimating means of bounded random variables by betting*, JRSS B 86, 2024). There the best stake in hindsight
takes a little more than it may, so that what holds is shown by the measurement and not by a theorem.

**Two payoffs at each end.** One is the estimator's own, ``w (r - e) + d - v``, with the largest weight that is
*possible* in ``M``. The other adds the multiple of ``w - 1``, whose mean is 0, with which no weight can hurt: what
the target would have earned where nothing was seen is at least the least reward, and at most the largest one. It
also holds where the log gave no chance to some of what the target would show; then only this one counts.

**Learning policies.** ``P`` has its mean whatever the logging policy made of what it had seen, so the product above
is a supermartingale also for logs of policies that learn (Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro,
*Anytime-valid off-policy inference for contextual bandits*, ACM/IMS Journal of Data Science, 2024). For independent
rows whose means move, ``1 + x <= exp(x)`` gives the same for the mean of the means. But it holds at the end of the log,
not at all times together.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from bandits.errors import EvaluationError
from bandits.intervals import Z95
from bandits.ope.estimators import PolicyValueEstimate
from bandits.policy import FloatArray

ALPHA = 0.05
WILKS = Z95 * Z95 / 2.0
FEW_UNITS = 8.0
MOST_EVIDENCE = math.log(4.0 / ALPHA)
"""Evidence that is enough whatever the number of units: two payoffs at each of two ends."""
MANY_UNITS = 400.0
"""From so many equal units on that would carry the payoffs, the normal interval is as good and stays."""
UNINFORMATIVE = 0.5
"""The share of the range of rewards above which an interval says too little to be given."""

_STAKE_STEPS = 30
_BISECTION_STEPS = 10
_NEARLY_ALL = 0.999
_LEAST_LOSS = 1e-9


@dataclass(frozen=True, slots=True)
class PayoffTerms:
    """The rows of a log as an estimator sums them up, by unit, and what is possible for a single row.

    ``total``: ``sum(d + w (r - e))`` of each unit; ``rows``: their number; ``excess``: ``sum(w - 1)``. ``d`` and ``e``
    are what a reward model says of the target and of what was shown; without a model both are 0. ``times``: how often
    each such unit is there. Shapes ``(u,)``. The other numbers are bounds: of rewards, ``e``, ``d`` and ``w``.
    ``normalised``: the estimate is divided by the sum of the weights. ``supported``: all that the target would show had
    a chance.
    """

    total: FloatArray
    rows: FloatArray
    excess: FloatArray
    times: FloatArray
    reward: tuple[float, float]
    expected: tuple[float, float]
    direct: tuple[float, float]
    largest_weight: float
    normalised: bool
    supported: bool

    def payoff(self, v: float, up: bool, safe: bool) -> tuple[FloatArray, float]:
        """Return the payoffs of a bet that the value is below ``v`` (``up``) or above it, and the most it can lose.

        ``safe``: with the multiple of ``w - 1`` with which no weight can hurt.
        """
        (least, most), (e_low, e_high), (d_low, d_high) = self.reward, self.expected, self.direct
        own = v if self.normalised else 0.0
        if up:
            highest = most - e_low
            k = highest if safe else own
            payoff = v * self.rows - self.total + k * self.excess
            lowest = v - d_high - k + min(0.0, self.largest_weight * (k - highest))
        else:
            deepest = least - e_high
            k = deepest if safe else own
            payoff = self.total - v * self.rows - k * self.excess
            lowest = d_low - v + k + min(0.0, self.largest_weight * (deepest - k))
        return payoff, max(-lowest * float(self.rows.max()), _LEAST_LOSS)

    def rejects(self, v: float, up: bool) -> bool:
        """Return whether ``v`` is too high (``up``) or too low to be the value."""
        for safe in (False, True) if self.supported else (True,):
            payoff, loss = self.payoff(v, up, safe)
            needed = _needed(_equal_units(payoff, self.times, loss))
            if _most_evidence(payoff, self.times, loss) >= needed:
                return True
        return False


def payoff_terms(
    reward: ArrayLike,
    probability: ArrayLike,
    target: ArrayLike,
    expected: ArrayLike | None = None,
    direct: ArrayLike | None = None,
    *,
    units: ArrayLike | None = None,
    normalised: bool = False,
    supported: bool = True,
    limits: tuple[float, float] | None = None,
) -> PayoffTerms:
    """Sum up a log for ``interval_that_holds``. All arrays have the shape ``(n,)``, as for the estimators.

    ``limits``: the least and the largest reward that are possible; by default 0 or the least that was seen, and the
    largest that was seen. ``normalised``, ``supported``: see ``PayoffTerms``. Raises ``EvaluationError`` if there is no
    row, or a reward is not within ``limits``.
    """
    r, p, q = (np.asarray(values, dtype=np.float64) for values in (reward, probability, target))
    if not len(r):
        raise EvaluationError("there is no row")
    e, d = (
        np.zeros(len(r)) if values is None else np.asarray(values, dtype=np.float64)
        for values in (expected, direct)
    )
    least, most = (min(0.0, float(r.min())), float(r.max())) if limits is None else limits
    if r.min() < least or r.max() > most:
        raise EvaluationError(f"a reward is not in [{least:g}, {most:g}]")
    w = q / p
    columns = np.stack([d + w * (r - e), np.ones(len(r)), w - 1.0])
    if units is not None:
        _, unit_of = np.unique(np.asarray(units), return_inverse=True)
        columns = np.stack([np.bincount(unit_of, weights=column) for column in columns])
    # Most rows of a narrow target have the weight 0, and are all alike.
    (total, rows, excess), times = np.unique(columns, axis=1, return_counts=True)
    return PayoffTerms(
        total=total,
        rows=rows,
        excess=excess,
        times=times.astype(np.float64),
        reward=(least, most),
        expected=(float(e.min()), float(e.max())),
        direct=(float(d.min()), float(d.max())),
        largest_weight=largest_possible_weight(p, q),
        normalised=normalised,
        supported=supported,
    )


def largest_possible_weight(probability: FloatArray, target: FloatArray) -> float:
    """Estimate the largest weight that a log like this can have, seen or not.

    In each row the target has a chance of ``1 - target`` left for offers that were not shown, and the log one of
    ``1 - probability``. That much of the log's chance is spread over at most so many offers as have the least
    probability of all, each, where the log is surest: with an exploration floor that is the number of the other offers.
    """
    largest = float((target / probability).max())
    open_rows = probability < 1.0
    if not open_rows.any():
        return largest
    p, q = probability[open_rows], target[open_rows]
    others = max((1.0 - float(p.max())) / float(p.min()), 1.0)
    return max(largest, float(((1.0 - q) / (1.0 - p)).max()) * others)


def interval_that_holds(
    found: PolicyValueEstimate, terms: PayoffTerms, span: tuple[float, float]
) -> PolicyValueEstimate:
    """Return an estimate with an interval at 95 % that holds for few effective rows, or with the reason for none.

    The value stays as it is, and is in the interval. The normal interval stays if no few rows can matter.

    Parameters
    ----------
    found
        The estimate, by the estimator that ``terms`` were made for.
    terms
        As ``payoff_terms`` returns them.
    span
        The least and the largest value that a policy can have.
    """
    if terms.times.sum() < 2:
        return refuse(found, "A single row says nothing of how much rewards vary; wait for more decisions.")
    if terms.reward[0] == terms.reward[1]:
        return refuse(found, "All rewards are the same; wait until others have been seen.")
    if terms.supported and _is_carried_by_many(found, terms):
        return found
    width = span[1] - span[0]
    # Where all rows are alike the spread is 0: then a small step is as good as any.
    step = max(found.high - found.low, 1e-4 * width) / 2.0
    low, high = _end(terms, found.value, step, span, False), _end(terms, found.value, step, span, True)
    if high - low > UNINFORMATIVE * (terms.reward[1] - terms.reward[0]):
        return refuse(
            found,
            f"The log says too little: all values from {low:.3g} to {high:.3g} agree with it, for it tells as much as"
            f" {found.effective_rows:.0f} equally weighted rows, and weights may be as large as"
            f" {terms.largest_weight:.0f}. Log with more exploration (a higher epsilon, a random control group), or"
            " wait for more decisions.",
        )
    return replace(found, low=low, high=high)


def refuse(found: PolicyValueEstimate, reason: str) -> PolicyValueEstimate:
    """Return the estimate without an interval, and with the reason."""
    return replace(found, low=-math.inf, high=math.inf, refused=reason)


def _is_carried_by_many(found: PolicyValueEstimate, terms: PayoffTerms) -> bool:
    """Return whether so many units carry the payoffs at both ends that the normal interval holds."""
    for v, up in ((found.low, False), (found.high, True)):
        payoff, loss = terms.payoff(v, up, safe=False)
        if _equal_units(payoff, terms.times, loss) < MANY_UNITS:
            return False
    return True


def _end(terms: PayoffTerms, value: float, step: float, span: tuple[float, float], up: bool) -> float:
    """Return where the interval ends above (``up``) or below ``value``; at the end of ``span`` at the latest."""
    edge = span[1] if up else span[0]
    inside, sign = value, 1.0 if up else -1.0
    while True:
        outside = min(inside + step, edge) if up else max(inside - step, edge)
        if (outside - inside) * sign <= 0.0:
            return inside  # at the edge, or an estimate that is beyond what is possible
        if terms.rejects(outside, up):
            break
        inside, step = outside, 2.0 * step
    for _ in range(_BISECTION_STEPS):
        middle = (inside + outside) / 2.0
        if terms.rejects(middle, up):
            outside = middle
        else:
            inside = middle
    return outside


def _equal_units(payoff: FloatArray, times: FloatArray, loss: float) -> float:
    """Return the number of equal units that would carry the payoff."""
    squares = payoff * payoff
    second, fourth = float(times @ squares), float(times @ (squares * squares))
    return min(second / loss**2, second**2 / fourth) if fourth > 0.0 else 0.0


def _needed(units: float) -> float:
    return min(MOST_EVIDENCE, WILKS * (1.0 + FEW_UNITS / units)) if units > 0.0 else MOST_EVIDENCE


def _most_evidence(payoff: FloatArray, times: FloatArray, loss: float) -> float:
    """Return the largest logarithm of what a bet leaves, over all stakes from 0 to nearly ``1 / loss``."""
    low, high = 0.0, _NEARLY_ALL / loss
    gain = float(times @ payoff)
    if gain <= 0.0:
        return 0.0
    if float(times @ (payoff / (1.0 + high * payoff))) >= 0.0:
        return float(times @ np.log1p(high * payoff))
    stake = min(high / 2.0, gain / float(times @ (payoff * payoff)))
    for _ in range(_STAKE_STEPS):  # Newton's method on a concave function, kept between bounds
        relative = payoff / (1.0 + stake * payoff)
        slope, curvature = float(times @ relative), float(times @ (relative * relative))
        if slope > 0.0:
            low = stake
        else:
            high = stake
        following = stake + slope / curvature
        if not low < following < high:
            following = (low + high) / 2.0
        if abs(following - stake) <= 1e-6 * stake:
            break
        stake = following
    return float(times @ np.log1p(stake * payoff))
