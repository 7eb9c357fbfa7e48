"""From scores to a distribution over candidates, and from a distribution to a choice.

Every distribution is exact by construction, and keeps a floor of ``epsilon / n`` for each of the ``n`` candidates
that are available.
"""

import math
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bandits import compiled
from bandits.policy import BoolArray, Distribution, FloatArray, IntArray


def uniform_draw(seed: str) -> float:
    """Return a number in [0, 1) that depends on ``seed`` alone, on every machine and with every library version."""
    return (int.from_bytes(blake2b(seed.encode(), digest_size=8).digest(), "big") >> 11) * 2.0**-53


def with_floor(wins: FloatArray, available: BoolArray, epsilon: float) -> FloatArray:
    """Mix win frequencies with an additive floor: ``p = f + (1 - n f) w``, where ``f = epsilon / n``.

    ``wins``: shape ``(n,)``, zero where not available, with a positive sum (it is normalised here).
    ``n`` counts what is available, so every available offer keeps at least ``epsilon / n``. An additive floor is
    used because it is exact: no clipping, and no renormalisation that would change the probabilities.
    """
    n = np.count_nonzero(available)
    floor = epsilon / n
    probabilities: FloatArray = floor + (1.0 - epsilon) * (wins / wins.sum())
    return probabilities if n == len(available) else np.where(available, probabilities, 0.0)


def sample_index(probabilities: FloatArray, u: float) -> int:
    """Return the index whose slice of [0, 1) holds ``u``: chosen with exactly its probability if ``u`` is uniform."""
    cumulative = probabilities.cumsum()
    index = int(cumulative.searchsorted(u * cumulative[-1], side="right"))
    # Rounding can push ``u`` past the end; then the last candidate that has a chance is meant.
    if index >= len(probabilities) or probabilities[index] <= 0.0:
        index = int(np.flatnonzero(probabilities)[-1])
    return index


class SlotRules(Protocol):
    """The rules of filling slots, apart from the policy."""

    def contenders(self, left: BoolArray) -> tuple[BoolArray, bool]:
        """Return which of ``left`` compete for the next slot, and whether the first of them takes it without a draw."""
        ...

    def exclude_after(self, index: int, left: BoolArray) -> None:
        """Remove from ``left`` whatever must not follow candidate ``index``, which took a slot."""
        ...


class NoSlotRules:
    """Every candidate that is left competes, and none is excluded."""

    def contenders(self, left: BoolArray) -> tuple[BoolArray, bool]:
        """Return all that are left."""
        return left, False

    def exclude_after(self, index: int, left: BoolArray) -> None:
        """Exclude nothing."""


def draw_slots(
    distribution: Distribution, available: BoolArray, slots: int, seed: str, rules: SlotRules | None = None
) -> list[tuple[int, float]]:
    """Fill ``slots`` one after the other, without replacement.

    Returns ``(index, probability)`` by rank; the probability of a later slot is conditional on what the earlier
    ones took. ``available`` is not changed. Fewer than ``slots`` are returned if candidates run out.

    The number available is part of each slot's seed: when an offer turns out to be withheld after it was drawn,
    and the same decision is drawn again without it, the new draw must not depend on the one that led there.
    """
    rules = rules or NoSlotRules()
    left = available.copy()
    n = int(np.count_nonzero(left))
    chosen: list[tuple[int, float]] = []
    while len(chosen) < slots and left.any():
        probabilities, certain = _slot_distribution(distribution, left, rules)
        index = certain
        if index is None:
            index = sample_index(probabilities, uniform_draw(f"{seed}/{n}/{len(chosen)}"))
        chosen.append((index, float(probabilities[index])))
        left[index] = False
        rules.exclude_after(index, left)
    return chosen


def slot_distributions(
    distribution: Distribution, available: BoolArray, taken: Sequence[int], rules: SlotRules | None = None
) -> Iterator[FloatArray]:
    """Yield the distribution of each slot (shape ``(n,)``), given the slots ``taken`` before it.

    Yields as many as ``taken`` has; all zeros where nothing is left. ``available`` is not changed. For what
    ``draw_slots`` drew, the number at each index taken is the probability that it told, bit for bit.
    """
    rules = rules or NoSlotRules()
    left = available.copy()
    for index in taken:
        yield _slot_distribution(distribution, left, rules)[0] if left.any() else np.zeros(len(left))
        left[index] = False
        rules.exclude_after(index, left)


def slot_contenders(
    available: BoolArray, taken: Sequence[int], rules: SlotRules | None = None
) -> Iterator[BoolArray]:
    """Yield who competed for each slot (shape ``(n,)``, a fresh array), given the slots ``taken`` before it."""
    rules = rules or NoSlotRules()
    left = available.copy()
    for index in taken:
        yield rules.contenders(left)[0].copy() if left.any() else left.copy()
        left[index] = False
        rules.exclude_after(index, left)


def _slot_distribution(
    distribution: Distribution, left: BoolArray, rules: SlotRules
) -> tuple[FloatArray, int | None]:
    """Return the next slot's distribution, and the index that takes it without a draw, if one does."""
    running, certain = rules.contenders(left)
    if not certain:
        return distribution(running), None
    # Rules decide alone: the slot has no draw, so its logged probability is 1.
    first = int(np.argmax(running))
    probabilities = np.zeros(len(left))
    probabilities[first] = 1.0
    return probabilities, first


def normal_quantiles(count: int) -> FloatArray:
    """Return the medians of ``count`` slices of equal probability of the standard normal distribution, sorted.

    They are rounded to multiples of ``2 ** -24``, so that the last bits of a logarithm do not matter.
    """
    normal = NormalDist()
    medians = np.array([normal.inv_cdf((k + 0.5) / count) for k in range(count)])
    return np.rint(medians * 2.0**24) * 2.0**-24


def normal_draws(offers: IntArray, count: int) -> NDArray[np.float32]:
    """Return ``count`` standard normal draws for each offer, fixed by its number: ``(count, n)``, float32.

    Every offer has the same numbers, one from the middle of each of ``count`` slices of equal probability, in an order
    of its own (Latin hypercube: McKay, Beckman and Conover, *Technometrics* 21, 1979).
    """
    strata = normal_quantiles(count)
    # The middles of slices vary less than the normal distribution does; this restores the variance of 1.
    strata /= math.sqrt(math.fsum(strata * strata) / count)
    draws = np.empty((count, len(offers)), dtype=np.float32)
    for column, offer in enumerate(offers.tolist()):
        # Seeded by the offer alone, so that a decision can be replayed, and no candidate changes another's draws.
        draws[:, column] = np.random.Generator(np.random.PCG64(offer)).permutation(strata)
    return draws


def win_frequencies(scores: NDArray[Any], weight: FloatArray, epsilon: float) -> Distribution:
    """Give each candidate its share of draws in which ``score x weight`` is the best; ``scores``: ``(K, n)``."""
    exact = weight.astype(scores.dtype)  # tiny weights may vanish here
    return win_frequencies_of_scores(scores * exact, exact, epsilon)


def win_frequencies_of_scores(drawn: NDArray[Any], weight: NDArray[Any], epsilon: float) -> Distribution:
    """As ``win_frequencies``, where ``drawn``, ``(K, n)``, holds the weights, ``(n,)``, already."""
    drawn, weighty = np.ascontiguousarray(drawn), weight > 0.0
    zero = drawn.dtype.type(0.0)  # of the draws' type: float64 would double the work below

    def distribution(available: BoolArray) -> FloatArray:
        if not (weighty & available).any():  # every draw is a tie
            return with_floor(available.astype(np.float64), available, epsilon)
        kernels = compiled.kernels
        if kernels is not None and drawn.dtype == np.float32:
            wins = np.empty(len(available))
            kernels.count_wins(drawn, np.ascontiguousarray(available), wins)
            return with_floor(wins, available, epsilon)
        left = drawn if available.all() else drawn + np.where(available, zero, -np.inf).astype(zero.dtype)
        counts = np.bincount(left.argmax(axis=1), minlength=left.shape[1])
        return with_floor(counts.astype(np.float64), available, epsilon)

    return distribution


def best_score(scores: FloatArray, epsilon: float) -> Distribution:
    """Give everything but the floor to the best score that is available; equals share."""

    def distribution(available: BoolArray) -> FloatArray:
        left = np.where(available, scores, -np.inf)
        return with_floor((left == left.max()).astype(np.float64), available, epsilon)

    return distribution


def inverse_gaps(scores: FloatArray, gamma: float, epsilon: float) -> Distribution:
    r"""Weigh by inverse gaps. With ``K`` available, of which ``b`` has the best score,

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
