"""``random``: every candidate with the same probability. The control group's policy."""

import numpy as np

from bandits.algorithms.static_policy import StaticPolicy
from bandits.policy import BoolArray, Candidates, Distribution, FloatArray


class RandomPolicy(StaticPolicy):
    """Chooses uniformly among what is available; propensities are the precomputed ones, for information only."""

    epsilon = 1.0

    def selector(self, prepared: None, candidates: Candidates) -> Distribution:
        """Give each available candidate the same probability."""

        def distribution(available: BoolArray) -> FloatArray:
            return available / np.count_nonzero(available)

        return distribution
