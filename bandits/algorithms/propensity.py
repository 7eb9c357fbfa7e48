"""``propensity``: always the best precomputed score. The fallback when a policy cannot be used."""

import numpy as np

from bandits.algorithms.static_policy import StaticPolicy
from bandits.policy import BoolArray, Candidates, Distribution, FloatArray


class PropensityPolicy(StaticPolicy):
    """Greedy on ``precomputed propensity x weight``; the first of equals wins. It neither explores nor learns.

    Where a customer has no propensity for an offer, 0 is taken, so such offers come last.
    """

    epsilon = 0.0

    def selector(self, prepared: None, candidates: Candidates) -> Distribution:
        """Give everything to the best score that is available."""
        scores = self.propensities(None, candidates) * candidates.weight

        def distribution(available: BoolArray) -> FloatArray:
            probabilities = np.zeros(len(scores))
            # Scores are never negative, so -1 keeps a masked candidate below all available ones.
            probabilities[int(np.argmax(np.where(available, scores, -1.0)))] = 1.0
            return probabilities

        return distribution
