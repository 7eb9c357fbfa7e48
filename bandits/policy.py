"""The protocol that every policy follows, and the values it exchanges with the rest of the system.

A learner has two verbs: it *chooses*, and it *learns*. Choosing is split into three pure steps, so that the
expensive one runs only when arms change: ``prepare`` (arms -> something ready to choose with),
``propensities`` (what each candidate is expected to do), ``selector`` (the exact chance of each).
Learning maps one observation to a vector that is *added* to the state of its arm.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bandits.decay import ForwardDecay

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.uint32]
BoolArray = NDArray[np.bool_]
Distribution = Callable[[BoolArray], FloatArray]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The offers that are left to choose from, as parallel arrays of length ``n``.

    ``offers``: the offers' numbers. ``prior``: this customer's precomputed propensities, NaN where there is
    none. ``weight``: everything that multiplies the propensity in the score (``C x V x L``), never negative.
    """

    offers: IntArray
    prior: NDArray[np.float32]
    weight: FloatArray

    def __len__(self) -> int:
        return len(self.offers)


@dataclass(frozen=True, slots=True)
class Observation:
    """One outcome to learn from: reward in [0, 1], and what was known when the offer was chosen.

    ``prior`` is the precomputed propensity that the decision used, NaN where there was none.
    """

    offer: int
    reward: float
    prior: float


class Policy(Protocol):
    """A named, versioned way to turn candidates into propensities and a choice, and to learn from outcomes.

    ``width`` is the number of float64 in the state of one arm (0: nothing is learned). ``epsilon`` is the share of
    choices that is spread evenly over what is available: each available candidate keeps at least
    ``epsilon / n`` (0: no exploration is promised, so others cannot be evaluated on what it logs). Implementations
    are pure: no clock, no global randomness, nothing remembered between calls. ``bandits.checks`` holds the laws.
    """

    name: str
    version: int
    width: int
    epsilon: float
    decay: ForwardDecay

    def learn(self, observation: Observation) -> FloatArray:
        """What this observation adds to its arm's state, before the weight of forward decay: shape ``(width,)``."""
        ...

    def prepare(self, offers: IntArray, state: FloatArray) -> Any:
        """Make arms ready to choose with. ``state``: shape ``(n, width)``, decayed to the present."""
        ...

    def refresh(self, prepared: Any, offers: IntArray, state: FloatArray, rows: NDArray[np.intp]) -> Any:
        """Return what ``prepare(offers, state)`` would, given that only ``rows`` changed since ``prepared``.

        Only ``rows`` of ``state`` are filled; the others hold nothing of use. ``prepared`` may be changed in place.
        """
        ...

    def propensities(self, prepared: Any, candidates: Candidates) -> FloatArray:
        """The estimated chance that each candidate is accepted: shape ``(n,)``, in [0, 1].

        An offer's estimate does not depend on the other candidates.
        """
        ...

    def selector(self, prepared: Any, candidates: Candidates) -> Distribution:
        """The distribution that a slot is drawn from, as a function of what is still available.

        The function returns shape ``(n,)``: it sums to one over ``available`` (at least one is) and is exactly
        zero elsewhere. Masking a candidate equals leaving it out.
        """
        ...


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """What makes a policy: algorithm and parameters under a name and version. Immutable once live."""

    name: str
    version: int
    algorithm: str
    parameters: Mapping[str, float]

    @property
    def key(self) -> str:
        """``name@version``, as it is written in logs and keys."""
        return f"{self.name}@{self.version}"
