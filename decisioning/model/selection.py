"""Selections: offers in their slots with the exact chance of each, and the candidates they were selected from."""

from dataclasses import dataclass
from typing import NamedTuple

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


class Withheld(NamedTuple):
    """An offer that is worth less than a unit of its capacity: what its policy expects, its value, and the price."""

    number: int
    propensity: float
    value: float
    price: float
    capacity_id: str


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """The least that an offer of ``numbers`` must be worth for a unit of a capacity.

    An offer is worth its value times its propensity; its value alone if only acceptances use up units
    (``by_acceptance``).
    """

    capacity_id: str
    price: float
    by_acceptance: bool
    numbers: frozenset[int]


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen offers; numbers and base propensities of all candidates that had remained.

    ``factors``: ``C`` then ``V`` of those candidates, shape ``(2, m)``; ``None`` if the catalogue tells them.
    ``propensities``: what the policy expects of every row of the view; ``None`` if no policy was asked.
    ``unlikely``: number and propensity of candidates that were left out for being below their minimum. ``withheld``:
    those that were left out for being worth less than a unit of capacity.
    """

    choices: tuple[Choice, ...]
    candidates: IntArray
    base_propensities: NDArray[np.float32]
    factors: FloatArray | None = None
    propensities: FloatArray | None = None
    unlikely: tuple[tuple[int, float], ...] = ()
    withheld: tuple[Withheld, ...] = ()
