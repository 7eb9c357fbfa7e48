"""The base of policies that learn nothing: no arms, no features, no parameters."""

import numpy as np
from numpy.typing import NDArray

from bandits.features import NO_ENCODER
from bandits.parameters import no_features, no_parameters
from bandits.policy import Candidates, FloatArray, ForwardDecay, Observation, PolicySpec, Sums


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
