"""``random``: every candidate with the same probability. The control group's policy."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bandits.decay import ForwardDecay
from bandits.parameters import no_parameters
from bandits.policy import BoolArray, Candidates, Distribution, FloatArray, IntArray, Observation


class RandomPolicy:
    """Uniform over what is available; propensities are the precomputed ones, for information only."""

    width = 0
    epsilon = 1.0
    decay = ForwardDecay(None)

    def __init__(self, name: str, version: int, parameters: Mapping[str, float]) -> None:
        no_parameters("random", parameters)
        self.name = name
        self.version = version

    def learn(self, observation: Observation) -> FloatArray:
        """Nothing is learned."""
        return np.zeros(0)

    def prepare(self, offers: IntArray, state: FloatArray) -> None:
        """Nothing to prepare."""

    def refresh(self, prepared: None, offers: IntArray, state: FloatArray, rows: NDArray[np.intp]) -> None:
        """Nothing to refresh."""

    def propensities(self, prepared: None, candidates: Candidates) -> FloatArray:
        """The precomputed propensities; 0 where there is none."""
        return np.nan_to_num(candidates.prior.astype(np.float64), nan=0.0)

    def selector(self, prepared: None, candidates: Candidates) -> Distribution:
        """One over the number available."""

        def distribution(available: BoolArray) -> FloatArray:
            return available / np.count_nonzero(available)

        return distribution
