"""``propensity``: the best precomputed score, always. What is left when the policy cannot be used."""

import numpy as np
from numpy.typing import NDArray

from bandits.decay import ForwardDecay
from bandits.features import NO_ENCODER
from bandits.parameters import no_features, no_parameters
from bandits.policy import BoolArray, Candidates, Distribution, FloatArray, Observation, PolicySpec, Sums


class PropensityPolicy:
    """Greedy on ``precomputed propensity x weight``; the first of equals wins. It neither explores nor learns.

    Where a customer has no propensity for an offer, 0 is taken, so such offers come last.
    """

    width = 0
    shared = False
    encoder = NO_ENCODER
    epsilon = 0.0
    decay = ForwardDecay(None)

    def __init__(self, spec: PolicySpec) -> None:
        no_parameters("propensity", spec.parameters)
        no_features("propensity", spec.features)
        self.name = spec.name
        self.version = spec.version

    def learn(self, observation: Observation) -> FloatArray:
        """Nothing is learned."""
        return np.zeros(0)

    def prepare(self, sums: Sums) -> None:
        """Nothing to prepare."""

    def refresh(self, prepared: None, sums: Sums, rows: NDArray[np.intp]) -> None:
        """Nothing to refresh."""

    def propensities(self, prepared: None, candidates: Candidates) -> FloatArray:
        """The precomputed propensities; 0 where there is none."""
        return np.nan_to_num(candidates.prior.astype(np.float64), nan=0.0)

    def selector(self, prepared: None, candidates: Candidates) -> Distribution:
        """All on the best score that is available."""
        scores = self.propensities(None, candidates) * candidates.weight

        def distribution(available: BoolArray) -> FloatArray:
            probabilities = np.zeros(len(scores))
            probabilities[int(np.argmax(np.where(available, scores, -1.0)))] = 1.0
            return probabilities

        return distribution
