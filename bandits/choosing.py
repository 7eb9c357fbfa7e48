"""Distributions over candidates from what is expected of them, each exact by construction.

All keep a floor of ``epsilon / n`` for each of the ``n`` candidates that are available.
"""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.exploration import with_floor
from bandits.policy import BoolArray, Distribution, FloatArray, IntArray


def normal_draws(offers: IntArray, count: int) -> NDArray[np.float32]:
    """``count`` standard normal draws for each offer, which depend on its number alone: ``(count, n)``, float32.

    Every offer has the same numbers, one from the middle of each of ``count`` slices of equal probability, in an order
    of its own (Latin hypercube: McKay, Beckman and Conover, *Technometrics* 21, 1979).
    """
    normal = NormalDist()
    strata = np.array([normal.inv_cdf((k + 0.5) / count) for k in range(count)])
    strata /= np.sqrt(np.mean(strata**2))
    draws = np.empty((count, len(offers)), dtype=np.float32)
    for column, offer in enumerate(offers.tolist()):
        draws[:, column] = np.random.Generator(np.random.PCG64(offer)).permutation(strata)
    return draws


def win_frequencies(scores: NDArray[Any], weight: FloatArray, epsilon: float) -> Distribution:
    """How often each candidate's ``score x weight`` is the best of a joint draw; ``scores``: ``(K, n)``, positive."""
    exact = weight.astype(scores.dtype)  # tiny weights may vanish here
    return contest_frequencies(scores * exact, exact, epsilon)


def contest_frequencies(contest: NDArray[Any], weight: NDArray[Any], epsilon: float) -> Distribution:
    """The same, where the weights, ``(n,)``, are in the ``contest`` already, ``(K, n)``."""
    weighty = weight > 0.0
    zero = contest.dtype.type(0.0)

    def distribution(available: BoolArray) -> FloatArray:
        if not (weighty & available).any():  # every draw is a tie
            return with_floor(available.astype(np.float64), available, epsilon)
        left = contest if available.all() else contest + np.where(available, zero, -np.inf).astype(zero.dtype)
        wins = np.bincount(left.argmax(axis=1), minlength=left.shape[1])
        return with_floor(wins.astype(np.float64), available, epsilon)

    return distribution


def best_score(scores: FloatArray, epsilon: float) -> Distribution:
    """All on the best score that is available; equals share."""

    def distribution(available: BoolArray) -> FloatArray:
        left = np.where(available, scores, -np.inf)
        return with_floor((left == left.max()).astype(np.float64), available, epsilon)

    return distribution


def inverse_gaps(scores: FloatArray, gamma: float, epsilon: float) -> Distribution:
    r"""Inverse gap weighting: with ``K`` available, of which ``b`` has the best score,

    .. math::  p_a = \frac{1}{K + \gamma (s_b - s_a) / s_b}, \qquad p_b = 1 - \sum_{a \ne b} p_a

    Equals share what is left for the best. Scores are not negative; with all of them 0 the gaps are 0.
    """

    def distribution(available: BoolArray) -> FloatArray:
        s = scores[available]
        top = s.max()
        weights = 1.0 / (len(s) + gamma * ((top - s) / top if top > 0 else np.zeros(len(s))))
        best = s == top
        # fsum rounds once, whatever the order.
        weights[best] = (1.0 - math.fsum(weights[~best])) / np.count_nonzero(best)
        probabilities = np.zeros(len(scores))
        probabilities[available] = epsilon / len(s) + (1.0 - epsilon) * weights
        return probabilities

    return distribution
