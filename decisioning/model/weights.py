"""The factors that multiply a propensity in the score: context weight, value, lever."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bandits.policy import FloatArray
from decisioning.model.entities import Placement


@dataclass(frozen=True)
class Weights:
    """Factors that multiply the propensities: arrays of shape ``(n,)``, 1 where the placement switches a factor off.

    ``use_p`` is false when ``P`` itself is switched off.
    """

    C: FloatArray
    V: FloatArray
    L: FloatArray
    use_p: bool = True

    @cached_property
    def product(self) -> FloatArray:
        """``C x V x L``."""
        return self.C * self.V * self.L


def switched_off(placement: Placement, c: FloatArray, v: FloatArray, lever: FloatArray) -> Weights:
    """Weights with the placement's switches applied."""
    off = placement.off
    ones = np.ones(len(lever))
    return Weights(
        ones if "C" in off else c,
        ones if "V" in off else v,
        ones if "L" in off else lever,
        "P" not in off,
    )
