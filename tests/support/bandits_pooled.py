"""The smallest policy that shares: for tests of what is shared."""

from dataclasses import dataclass

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
from bandits.sampling import with_floor

STRENGTH = 10.0


@dataclass(frozen=True, slots=True)
class PooledArms:
    """Trials and acceptances, of each offer (shape ``(n, 2)``) and of all offers (shape ``(2,)``)."""

    own: FloatArray
    shared: FloatArray


class PooledPolicy:
    """Greedy on each offer's rate, shrunk to the rate of all offers as if that had been seen ten times."""

    width = 2
    shared = True
    epsilon = 0.1
    decay = ForwardDecay(86_400.0)
    encoder = NO_ENCODER

    def __init__(self, spec: PolicySpec) -> None:
        no_parameters("pooled", spec.parameters)
        no_features("pooled", spec.features)
        self.name = spec.name
        self.version = spec.version

    def learn(self, observation: Observation) -> FloatArray:
        return np.array([1.0, observation.reward])

    def prepare(self, sums: Sums) -> PooledArms:
        return PooledArms(sums.own.copy(), sums.shared.copy())

    def refresh(self, prepared: PooledArms, sums: Sums, rows: NDArray[np.intp]) -> PooledArms:
        prepared.own[rows] = sums.own[rows]
        prepared.shared[:] = sums.shared
        return prepared

    def propensities(self, prepared: PooledArms, candidates: Candidates) -> FloatArray:
        trials, accepted = prepared.shared
        level = (accepted + 0.05) / (trials + 1.0)
        rates: FloatArray = (STRENGTH * level + prepared.own[:, 1]) / (STRENGTH + prepared.own[:, 0])
        return rates

    def selector(self, prepared: PooledArms, candidates: Candidates) -> Distribution:
        scores = self.propensities(prepared, candidates) * candidates.weight

        def distribution(available: BoolArray) -> FloatArray:
            best = available & (scores == scores[available].max())
            return with_floor(best.astype(np.float64), available, self.epsilon)

        return distribution
