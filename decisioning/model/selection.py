"""Selections: offers in their slots with the exact chance of each, and the candidates they were selected from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits.policy import FloatArray, IntArray
from decisioning.model.entities import Offer


@dataclass(frozen=True, slots=True)
class Factors:
    """The four factors of a score, as they are returned; a factor that is switched off counts as 1."""

    P: float
    C: float
    V: float
    L: float


@dataclass(frozen=True, slots=True)
class Choice:
    """An offer in its slot, with the exact chance with which the system selected it there.

    ``score``: the product of the factors. ``expected``: the policy's propensity, also where it does not count in the
    score.
    """

    offer: Offer
    row: int
    rank: int
    factors: Factors
    score: float
    probability: float
    base_propensity: float
    expected: float


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen offers; numbers and base propensities of all candidates that had remained.

    ``factors``: ``C`` then ``V`` of those candidates, shape ``(2, m)``; ``None`` if the catalogue tells them.
    ``propensities``: what the policy expects of every row of the view; ``None`` if no policy was asked.
    ``unlikely``: number and propensity of candidates that were left out for being below their minimum.
    """

    choices: tuple[Choice, ...]
    candidates: IntArray
    base_propensities: NDArray[np.float32]
    factors: FloatArray | None = None
    propensities: FloatArray | None = None
    unlikely: tuple[tuple[int, float], ...] = ()
