"""What policies that learn nothing have in common: no arms, no features, no parameters."""

import numpy as np
from numpy.typing import NDArray

from bandits.decay import ForwardDecay
from bandits.features import NO_ENCODER
from bandits.parameters import no_features, no_parameters
from bandits.policy import Candidates, FloatArray, Observation, PolicySpec, Sums


class StaticPolicy:
    """Expects what the precomputed propensities say, whatever is accepted. How to choose is left to others."""

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
        """Nothing is learned."""
        return np.zeros(0)

    def prepare(self, sums: Sums) -> None:
        """Nothing to prepare."""

    def refresh(self, prepared: None, sums: Sums, rows: NDArray[np.intp]) -> None:
        """Nothing to refresh."""

    def propensities(self, prepared: None, candidates: Candidates) -> FloatArray:
        """The precomputed propensities; 0 where there is none."""
        return np.nan_to_num(candidates.base_propensity.astype(np.float64), nan=0.0)
