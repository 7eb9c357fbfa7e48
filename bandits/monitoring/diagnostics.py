"""Diagnostics of a policy's exploration: plain functions over parallel arrays, one entry for each arm.

``mean``, ``low``, ``high``
    the posterior mean of what the policy ranks by, and an interval around it (95 %, say), with ``low <= high``;
``observations``
    the number of outcomes that the arm has learned from; decayed counts are fine;
``share``
    the chance with which the policy selects the arm, or what is proportional to it; not all zero.

All are of shape ``(n,)``. ``EvaluationError`` names an argument that is out of range.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bandits.errors import EvaluationError
from bandits.policy import FloatArray

CONCENTRATED_SHARE = 0.95
SETTLED_PROBABILITY = 0.95
FEW_OBSERVATIONS = 100.0
NEGLIGIBLE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class ExplorationDiagnosis:
    """The state of a policy's exploration.

    ``entropy``: see ``normalised_entropy``. ``favourite``: the position of the arm with the largest share, ``None``
    without arms. ``neglected``: positions of the arms for which exploration died early, see ``diagnose_exploration``.
    """

    entropy: float
    favourite: int | None
    neglected: tuple[int, ...]


def normalised_entropy(share: ArrayLike) -> float:
    """Return the entropy of the distribution of choices over ``log n``: 0 if one arm has all, 1 if all have the same.

    With fewer than two arms it is 1: the choices are as even as they can be, and nothing is left unexplored.
    """
    p = _normalised_shares(share)
    if len(p) < 2:
        return 1.0
    taken = p[p > 0.0]
    return float(min(max(-np.sum(taken * np.log(taken)) / math.log(len(p)), 0.0), 1.0))


def leading_arm(mean: ArrayLike) -> int | None:
    """Return the position of the highest mean, the first on a tie; ``None`` without arms."""
    m = _finite_array("mean", mean)
    return int(np.argmax(m)) if len(m) else None


def diagnose_exploration(
    mean: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    observations: ArrayLike,
    share: ArrayLike,
    *,
    concentrated: float = CONCENTRATED_SHARE,
    few: float = FEW_OBSERVATIONS,
    hardly: float = NEGLIGIBLE_SHARE,
) -> ExplorationDiagnosis:
    """Find the arms that may be the best and yet are hardly selected any more: there exploration died too early.

    An arm is *neglected* if all of this holds:

    - it is not the favourite, which is the arm with the largest share;
    - it may be as good: ``high`` reaches the favourite's ``mean``;
    - it is hardly selected: its share is below ``min(0.01, hardly / n)``. So a floor that spreads less than ``hardly``
      over all arms does not pass for exploration, while sampling from the posterior usually gives more than this to
      an arm whose 95 % interval reaches the favourite's mean;
    - the favourite's share is at least ``concentrated``, or the arm has fewer than ``few`` observations.

    A favourite that beats all others by their intervals is never a reason to warn, however large its share.
    """
    m, _, upper = _checked_intervals(mean, low, high)
    seen, p = _finite_array("observations", observations), _normalised_shares(share)
    _require_same_length(mean=m, observations=seen, share=p)
    if (seen < 0.0).any():
        raise EvaluationError("observations must not be negative")
    if len(p) < 2:
        return ExplorationDiagnosis(normalised_entropy(p), 0 if len(p) else None, ())
    favourite = int(np.argmax(p))
    neglected = (upper >= m[favourite]) & (p < min(0.01, hardly / len(p)))
    if p[favourite] < concentrated:
        # Choices are still spread: only arms with little evidence count as given up.
        neglected &= seen < few
    neglected[favourite] = False
    return ExplorationDiagnosis(
        normalised_entropy(p), favourite, tuple(int(arm) for arm in np.flatnonzero(neglected))
    )


def is_settled(mean: ArrayLike, low: ArrayLike, high: ArrayLike, best: ArrayLike | None = None) -> bool:
    """Return whether it is settled that the leader, the arm with the highest mean, is the best.

    It is if the leader's ``low`` lies above the ``high`` of every other arm, or if its probability of being the best
    is at least 0.95. ``best``: these probabilities, if they are known. A single arm is settled, none is not; equal
    leaders are not.
    """
    m, lower, upper = _checked_intervals(mean, low, high)
    first = leading_arm(m)
    if first is None:
        return False
    if best is not None:
        chance = _finite_array("best", best)
        _require_same_length(mean=m, best=chance)
        if ((chance < 0.0) | (chance > 1.0)).any():
            raise EvaluationError("best must be probabilities, in [0, 1]")
        if chance[first] >= SETTLED_PROBABILITY:
            return True
    return bool(lower[first] > np.delete(upper, first).max(initial=-math.inf))


def _checked_intervals(
    mean: ArrayLike, low: ArrayLike, high: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    m, lower, upper = _finite_array("mean", mean), _finite_array("low", low), _finite_array("high", high)
    _require_same_length(mean=m, low=lower, high=upper)
    if (lower > upper).any():
        raise EvaluationError("low must not be above high")
    return m, lower, upper


def _normalised_shares(share: ArrayLike) -> FloatArray:
    """Return the shares, divided by their sum."""
    p = _finite_array("share", share)
    if (p < 0.0).any():
        raise EvaluationError("share must not be negative")
    if not len(p):
        return p
    if not p.any():
        raise EvaluationError("share must not be all zero: something is always selected")
    shares: FloatArray = p / p.max()  # so that the sum cannot overflow
    shares /= shares.sum()
    return shares


def _finite_array(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise EvaluationError(f"{name} must be finite numbers in one dimension")
    return array


def _require_same_length(**arrays: FloatArray) -> None:
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise EvaluationError(f"there must be one entry for each arm in all, not {given}")
