"""Off-policy evaluation: the reward that another policy would have brought, estimated from logged choices.

Every estimator takes three parallel arrays of shape ``(n,)``, one entry a logged choice:

``reward``
    what was observed, any finite number;
``probability``
    the chance with which the *logging* system selected this offer for its slot, as logged: in (0, 1];
``target``
    the chance with which the *target* policy would have selected it, in the same situation: in [0, 1].

A later slot's logged probability is conditional on what the earlier slots took, so ``target`` must be conditional on
the same: then each slot is evaluated by itself. For whole answers, multiply both over the slots.

The intervals hold for independent rows and many of them. Rows that are not independent of each other (slots of one
answer) are told by ``units``: rows of one unit are summed before the variance is taken. Look at ``effective_rows``
first: when a few rows carry most of the weight it is small, and the normal approximation is not to be trusted;
``bandits.ope.weighted_intervals`` makes intervals that hold there too.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits.errors import EvaluationError
from bandits.intervals import Z95
from bandits.policy import BoolArray, FloatArray

Unknown = Literal["refuse", "leave_out"]


@dataclass(frozen=True, slots=True)
class PolicyValueEstimate:
    """The value of a policy, in reward for each choice, with its 95 % interval.

    ``rows`` were used; ``left_out`` were not, since their probability is unknown. ``effective_rows`` is the number of
    equally weighted rows that would be as informative: ``sum(w)**2 / sum(w**2)`` (Kish, *Survey Sampling*, 1965).
    From a single row nothing is known of the spread: its interval is infinite. ``refused``: the reason why an
    interval is not given, which is then infinite as well; see ``bandits.ope.weighted_intervals``. ``cut``: the reason
    why the value lies outside of what is possible, where the interval ends.
    """

    value: float
    low: float
    high: float
    rows: int
    left_out: int
    effective_rows: float
    refused: str | None = None
    cut: str | None = None


def inverse_propensity(
    reward: ArrayLike,
    probability: ArrayLike,
    target: ArrayLike,
    *,
    unknown: Unknown = "refuse",
    units: ArrayLike | None = None,
) -> PolicyValueEstimate:
    """Weigh each reward by ``target / probability`` and take the mean.

    Unbiased if the logging policy gave a chance to all that the target would choose. Horvitz and Thompson, *A
    generalization of sampling without replacement from a finite universe*, JASA 47 (1952). The variance is
    that of the mean of the weighted rewards.

    Parameters
    ----------
    reward, probability, target
        Shape ``(n,)``; see the module. NaN as a ``probability`` means that it is unknown (imported history).
    unknown
        ``"refuse"`` such rows, or ``"leave_out"``: they are then counted in ``left_out``.
    units
        Shape ``(n,)``, whole numbers: rows with the same number belong together. By default each row is alone.

    Raises ``EvaluationError`` if shapes differ, a value is out of range, a probability is unknown and not to be left
    out, no row remains, or the target would have chosen nothing of what was logged.

    Examples
    --------
    >>> inverse_propensity([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5], [1, 1, 0, 0]).value
    0.5
    """
    rows = _usable_rows(reward, probability, target, unknown, units)
    terms = rows.weight * rows.reward
    return _with_interval(float(terms.mean()), terms - terms.mean(), len(terms), rows)


def self_normalised(
    reward: ArrayLike,
    probability: ArrayLike,
    target: ArrayLike,
    *,
    unknown: Unknown = "refuse",
    units: ArrayLike | None = None,
) -> PolicyValueEstimate:
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
    rows = _usable_rows(reward, probability, target, unknown, units)
    w = rows.weight
    value = float((w * rows.reward).sum() / w.sum())
    return _with_interval(value, w * (rows.reward - value), float(w.sum()), rows)


def doubly_robust(
    reward: ArrayLike,
    probability: ArrayLike,
    target: ArrayLike,
    expected: ArrayLike,
    direct: ArrayLike,
    *,
    unknown: Unknown = "refuse",
    units: ArrayLike | None = None,
    clip: float = math.inf,
) -> PolicyValueEstimate:
    """Estimate the target's reward by a reward model, corrected by the model's error on what was logged.

    The mean of ``direct + weight x (reward - expected)``. Unbiased if the logged probabilities are right *or* the model
    is, and more precise than weighting alone as far as the model predicts rewards. Dudík, Langford and Li, *Doubly
    robust policy evaluation and learning*, ICML 2011. The model must not have seen the rewards it is judged with.

    Parameters as for ``inverse_propensity``, and

    expected
        Shape ``(n,)``: the model's reward for the offer that was logged.
    direct
        Shape ``(n,)``: the model's reward for the target: the sum over all candidates of the target's chance times
        the model's reward.
    clip
        Weights above it count as it: less variance, and a bias of at most the model's error where it was clipped (the
        pessimistic shrinkage of Su, Dimakopoulou, Krishnamurthy and Dudík, ICML 2020). Not clipped by default.

    Errors as for ``inverse_propensity``; also if ``expected`` or ``direct`` is not finite, or ``clip`` is not positive.

    Examples
    --------
    >>> doubly_robust([1, 0], [0.5, 0.5], [1, 0], [0.75, 0.5], [0.75, 0.75]).value
    1.0
    """
    if not clip > 0:
        raise EvaluationError(f"clip must be positive, not {clip}")
    rows = _usable_rows(reward, probability, target, unknown, units)
    q, dm = rows.checked(expected, "expected"), rows.checked(direct, "direct")
    terms = dm + np.minimum(rows.weight, clip) * (rows.reward - q)
    return _with_interval(float(terms.mean()), terms - terms.mean(), len(terms), rows)


@dataclass(frozen=True, slots=True)
class _UsableRows:
    """The rows that can be used: shape ``(n,)`` each. ``known``: a mask of them among all rows."""

    reward: FloatArray
    weight: FloatArray
    known: BoolArray
    units: NDArray[np.int64] | None

    def checked(self, values: ArrayLike, name: str) -> FloatArray:
        """Return another column of these rows. Raises ``EvaluationError`` if it does not fit."""
        found = np.asarray(values, dtype=np.float64)
        if found.shape != self.known.shape:
            raise EvaluationError(
                f"{name} must be of the same length as reward, not {found.shape}, {self.known.shape}"
            )
        if not np.isfinite(found[self.known]).all():
            raise EvaluationError(f"{name} is not a finite number in some row")
        return found[self.known]


def _with_interval(
    value: float, residuals: FloatArray, total: float, rows: _UsableRows
) -> PolicyValueEstimate:
    """Return ``value`` with its interval, from residuals that add up to 0; ``total`` divides their sum."""
    if rows.units is not None:  # rows of one unit vary together: their sum is one observation
        units, unit_of = np.unique(rows.units, return_inverse=True)
        sums = np.zeros(len(units))
        np.add.at(sums, unit_of, residuals)
        residuals = sums
    n, w = len(residuals), rows.weight
    half = math.inf
    if n > 1:
        # n / (n - 1): the residuals are from a mean that was estimated from the same rows.
        half = Z95 * math.sqrt(float(np.square(residuals).sum()) * n / (n - 1)) / total
    effective = float(w.sum() ** 2 / np.square(w).sum())
    left_out = int(np.count_nonzero(~rows.known))
    return PolicyValueEstimate(value, value - half, value + half, len(w), left_out, effective)


def _usable_rows(
    reward: ArrayLike, probability: ArrayLike, target: ArrayLike, unknown: Unknown, units: ArrayLike | None
) -> _UsableRows:
    """Return the rewards and weights of the rows whose probability is known."""
    r, p, q = (np.asarray(values, dtype=np.float64) for values in (reward, probability, target))
    if r.ndim != 1 or r.shape != p.shape or r.shape != q.shape:
        raise EvaluationError(
            f"reward, probability and target must be of one length, not {r.shape}, {p.shape}, {q.shape}"
        )
    groups = None if units is None else np.asarray(units, dtype=np.int64)
    if groups is not None and groups.shape != r.shape:
        raise EvaluationError(f"units must be of the same length as reward, not {groups.shape}, {r.shape}")
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
    if not weights.any():  # no overlap: every estimate would be 0 / 0, or a 0 that says nothing
        raise EvaluationError("the target would have chosen nothing of what was logged")
    return _UsableRows(r, weights, known, None if groups is None else groups[known])
