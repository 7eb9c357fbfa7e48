"""The policies that learn nothing: no arms, no features, no parameters; and their base.

``propensity``: always the best precomputed score, the fallback when a policy cannot be used. ``random``: every
candidate with the same probability, the control group's policy.
"""

import numpy as np
from numpy.typing import NDArray

from bandits.features import NO_ENCODER
from bandits.parameters import no_features, no_parameters
from bandits.policy import (
    BoolArray,
    Candidates,
    Distribution,
    FloatArray,
    ForwardDecay,
    Observation,
    PolicySpec,
    Sums,
)


class StaticPolicy:
    """Takes the precomputed propensities as they are, whatever is accepted. Subclasses add the choice."""

    width = 0
    shared = False
    encoder = NO_ENCODER
    decay = ForwardDecay(None)

    def __init__(self, spec: PolicySpec) -> None:
        no_parameters(spec.algorithm, spec.parameters)
        no_features(spec.algorithm, spec.features)
        self.name = spec.name
        self.version = spec.version

    def learn(self, observation: Observation) -> FloatArray:
        """Learn nothing."""
        return np.zeros(0)

    def prepare(self, sums: Sums) -> None:
        """Prepare nothing."""

    def refresh(self, prepared: None, sums: Sums, rows: NDArray[np.intp]) -> None:
        """Refresh nothing."""

    def propensities(self, prepared: None, candidates: Candidates) -> FloatArray:
        """Return the precomputed propensities; 0 where there is none."""
        return np.nan_to_num(candidates.base_propensity.astype(np.float64), nan=0.0)


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


class RandomPolicy(StaticPolicy):
    """Chooses uniformly among what is available; propensities are the precomputed ones, for information only."""

    epsilon = 1.0

    def selector(self, prepared: None, candidates: Candidates) -> Distribution:
        """Give each available candidate the same probability."""
        return lambda available: available / np.count_nonzero(available)
