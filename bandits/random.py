"""``random``: every candidate with the same probability. The control group's policy."""

import numpy as np
from numpy.typing import NDArray

from bandits.decay import ForwardDecay
from bandits.features import NO_ENCODER
from bandits.parameters import no_features, no_parameters
from bandits.policy import BoolArray, Candidates, Distribution, FloatArray, Observation, PolicySpec, Sums


class RandomPolicy:
    """Uniform over what is available; propensities are the precomputed ones, for information only."""

    width = 0
    shared = False
    encoder = NO_ENCODER
    epsilon = 1.0
    decay = ForwardDecay(None)

    def __init__(self, spec: PolicySpec) -> None:
        no_parameters("random", spec.parameters)
        no_features("random", spec.features)
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
        """One over the number available."""

        def distribution(available: BoolArray) -> FloatArray:
            return available / np.count_nonzero(available)

        return distribution
