"""``ucb``: optimism about offers with little evidence, by the KL-UCB index.

Garivier and Cappé, *The KL-UCB algorithm for bounded stochastic bandits and beyond*, COLT 2011 (with ``c = 0``, as they
recommend for use); with forgetting, in the manner of the discounted UCB of Garivier and Moulines, *On upper-confidence
bound policies for switching bandit problems*, ALT 2011.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bandits.algorithms.beta_arms import MIN_CHANCE, BetaArmsPolicy, odds_to_probability
from bandits.exact_math import LN2, LOG2_E, log, log_of
from bandits.policy import Candidates, Distribution, FloatArray, PolicySpec, Sums
from bandits.sampling import best_score

_MAX_NEWTON_STEPS = 16


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of ``n`` arms, shapes ``(n,)``.

    ``mean``: the mean level; ``count``: the observations it rests on, prior included; ``expected_odds``: those of the
    mean propensity; ``upper``: the highest plausible level. ``level``: the entropy that counts as plausible.
    """

    mean: FloatArray
    count: FloatArray
    expected_odds: FloatArray
    upper: FloatArray
    level: float


class UCBPolicy(BetaArmsPolicy):
    r"""Takes the best ``p x weight`` at the highest plausible levels; equals share.

    The model is that of ``BetaArmsPolicy``, with the prior taken for ``m`` observations. An arm of mean level
    :math:`\mu`, known from ``N = m + n`` observations, when ``t`` have been made of all offers together (decayed as
    they are), is plausibly as good as

    .. math::  u = \max \{ v : N \, d(\mu, v) \le c \log (1 + t) \}

    where ``d`` is the relative entropy of Bernoulli distributions, and a customer's odds are shifted to ``u`` instead
    of :math:`\mu`. The logarithm is rounded up to quarters of ``log 2``.

    Parameters
    ----------
    exploration : float
        ``c``: 1 in the paper; less is bolder, 0 is greedy. Default 0.2, which earns more where acceptances are rare.
    epsilon : float
        The share of choices spread evenly over all candidates. The index itself is not random, so this alone is what
        others can be evaluated on. Default 0.05. The others are those of ``BetaArmsPolicy``.
    """

    algorithm = "ucb"
    shared = True  # for the number of observations of all offers
    own_parameters: ClassVar[dict[str, Any]] = {"exploration": 0.2}

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        self.exploration = self.number_in_range("exploration", 0.0, 10.0)

    def prepare(self, sums: Sums) -> Bounds:
        """Compute the bounds of all arms."""
        n = len(sums.offers)
        level = self._plausible_entropy(sums.shared)
        empty = Bounds(np.empty(n), np.empty(n), np.empty(n), np.empty(n), level)
        return self._fill(empty, sums.own, np.arange(n))

    def refresh(self, prepared: Bounds, sums: Sums, rows: NDArray[np.intp]) -> Bounds:
        """Compute the bounds of ``rows`` anew, in place; those of all arms if the plausible level changed."""
        level = self._plausible_entropy(sums.shared)
        if level != prepared.level:
            prepared = replace(prepared, level=level)
            prepared.upper[:] = upper_bound(prepared.mean, level / prepared.count)
        return self._fill(prepared, sums.own, rows)

    def _fill(self, bounds: Bounds, own: FloatArray, rows: NDArray[np.intp]) -> Bounds:
        posterior = self.posterior(own[rows])
        count = posterior.alpha + posterior.beta
        bounds.mean[rows] = posterior.alpha / count
        bounds.count[rows] = count
        bounds.expected_odds[rows] = posterior.expected_odds
        bounds.upper[rows] = upper_bound(bounds.mean[rows], bounds.level / count)
        return bounds

    def _plausible_entropy(self, shared: FloatArray) -> float:
        t = max(float(shared[0]), 0.0)
        # In steps, so that the bounds of arms that were not observed rarely change.
        return self.exploration * math.ceil(4.0 * LOG2_E * log_of(1.0 + t)) / 4.0 * LN2

    def propensities(self, prepared: Bounds, candidates: Candidates) -> FloatArray:
        """Return the customer's propensities at the arms' mean levels."""
        return self._shift_odds(prepared.mean, prepared, candidates)

    def selector(self, prepared: Bounds, candidates: Candidates) -> Distribution:
        """Give everything but the floor to the best upper bound."""
        return best_score(
            self._shift_odds(prepared.upper, prepared, candidates) * candidates.weight, self.epsilon
        )

    def _shift_odds(self, level: FloatArray, prepared: Bounds, candidates: Candidates) -> FloatArray:
        return odds_to_probability(self.odds(candidates) * (level / (1.0 - level) / prepared.expected_odds))


def upper_bound(mean: FloatArray, entropy: FloatArray) -> FloatArray:
    """Return the largest ``v <= 1 - 1e-6`` with a relative entropy to ``mean`` of at most ``entropy``: ``(n,)``."""
    # Newton's method: relative entropy is convex in v, so from above the root every step ends above it.
    p = np.clip(mean, MIN_CHANCE, 1.0 - MIN_CHANCE)
    # Two bounds from above: Pinsker's inequality, and its version for small chances.
    start = np.minimum(p + np.sqrt(entropy / 2.0), p + entropy + np.sqrt(entropy * (entropy + 2.0 * p)))
    v = np.minimum(start, 1.0 - MIN_CHANCE)
    for _ in range(_MAX_NEWTON_STEPS):
        excess = p * log(p / v) + (1.0 - p) * log((1.0 - p) / (1.0 - v)) - entropy
        slope = np.maximum((v - p) / (v * (1.0 - v)), MIN_CHANCE)
        nearer = np.clip(v - np.maximum(excess, 0.0) / slope, p, v)
        if np.array_equal(nearer, v):  # each would stay where it is for ever
            break
        v = nearer
    return v
