"""Off-policy evaluation: what another policy would have brought, estimated from what was logged.

Every estimator takes three parallel arrays of shape ``(n,)``, one entry a logged choice:

``reward``
    what was observed, any finite number;
``probability``
    the chance with which the *logging* system selected this offer for its slot, as logged: in (0, 1];
``target``
    the chance with which the *target* policy would have selected it, in the same situation: in [0, 1].

A later slot's logged probability is conditional on what the earlier slots took, so ``target`` must be conditional on
the same: then each slot is evaluated by itself. For whole answers, multiply both over the slots.

The intervals hold for independent rows and many of them. Look at ``effective_rows`` first: when a few rows carry
most of the weight it is small, and the normal approximation is not to be trusted.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bandits.errors import EvaluationError
from bandits.intervals import Z95
from bandits.policy import FloatArray

Unknown = Literal["refuse", "leave_out"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """The value of a policy, in reward for each choice, with its 95 % interval.

    ``rows`` were used; ``left_out`` were not, since their probability is unknown. ``effective_rows`` is the number of
    equally weighted rows that would be as informative: ``sum(w)**2 / sum(w**2)`` (Kish, *Survey Sampling*, 1965).
    From a single row nothing is known of the spread: its interval is infinite.
    """

    value: float
    low: float
    high: float
    rows: int
    left_out: int
    effective_rows: float


def inverse_propensity(
    reward: ArrayLike, probability: ArrayLike, target: ArrayLike, *, unknown: Unknown = "refuse"
) -> Estimate:
    """Weigh each reward by ``target / probability`` and take the mean.

    Unbiased if the logging policy gave a chance to all that the target would choose. Horvitz and Thompson, *A
    generalization of sampling without replacement from a finite universe*, JASA 47 (1952). The variance is
    that of the mean of the weighted rewards.

    Parameters
    ----------
    reward, probability, target
        Shape ``(n,)``; see the module. NaN as a ``probability`` means that it is unknown (imported history).
    unknown
        ``"refuse"`` such rows, or ``"leave_out"``: they are then counted in ``Estimate.left_out``.

    Raises
    ------
    EvaluationError
        If shapes differ, a value is out of range, a probability is unknown and not to be left out, no row remains,
        or the target would have chosen nothing of what was logged.

    Examples
    --------
    >>> inverse_propensity([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5], [1, 1, 0, 0]).value
    0.5
    """
    r, w, left_out = _weighted(reward, probability, target, unknown)
    terms = w * r
    value = float(terms.mean())
    return _estimate(value, float(np.sum((terms - value) ** 2)) / len(r) ** 2, w, left_out)


def self_normalised(
    reward: ArrayLike, probability: ArrayLike, target: ArrayLike, *, unknown: Unknown = "refuse"
) -> Estimate:
    """Divide the sum of weighted rewards by the sum of weights, instead of by the number of rows.

    Slightly biased for few rows, but its variance is usually far smaller, and it does not change when all rewards
    are shifted by the same amount. Swaminathan and Joachims, *The self-normalized estimator for counterfactual
    learning*, NIPS 2015. The variance is that of the linearised ratio.

    Parameters, errors: as ``inverse_propensity``.

    Examples
    --------
    >>> self_normalised([1, 0, 1, 1], [0.5, 0.25, 0.5, 0.25], [1, 1, 0, 0]).value
    0.3333333333333333
    """
    r, w, left_out = _weighted(reward, probability, target, unknown)
    value = float((w * r).sum() / w.sum())
    return _estimate(value, float(np.sum((w * (r - value)) ** 2)) / float(w.sum()) ** 2, w, left_out)


def _estimate(value: float, variance: float, weights: FloatArray, left_out: int) -> Estimate:
    n = len(weights)
    half = Z95 * math.sqrt(variance * n / (n - 1)) if n > 1 else math.inf
    effective = float(weights.sum() ** 2 / np.square(weights).sum())
    return Estimate(value, value - half, value + half, n, left_out, effective)


def _weighted(
    reward: ArrayLike, probability: ArrayLike, target: ArrayLike, unknown: Unknown
) -> tuple[FloatArray, FloatArray, int]:
    """Rewards and weights of the rows whose probability is known, and how many others there were."""
    r, p, q = (np.asarray(values, dtype=np.float64) for values in (reward, probability, target))
    if r.ndim != 1 or r.shape != p.shape or r.shape != q.shape:
        raise EvaluationError(
            f"reward, probability and target must be of one length, not {r.shape}, {p.shape}, {q.shape}"
        )
    known = ~np.isnan(p)
    left_out = int(np.count_nonzero(~known))
    if left_out and unknown == "refuse":
        raise EvaluationError(f"the probability of {left_out} of {len(p)} rows is unknown")
    r, p, q = r[known], p[known], q[known]
    if len(r) == 0:
        raise EvaluationError("there is no row with a known probability")
    if not np.isfinite(r).all():
        raise EvaluationError("a reward is not a finite number")
    if not ((p > 0.0) & (p <= 1.0)).all():
        raise EvaluationError("a probability is not in (0, 1]: what was logged had a chance")
    if not ((q >= 0.0) & (q <= 1.0)).all():
        raise EvaluationError("a target probability is not in [0, 1]")
    weights: FloatArray = q / p
    if not weights.any():
        raise EvaluationError("the target would have chosen nothing of what was logged")
    return r, weights, left_out
