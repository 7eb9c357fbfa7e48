"""Arbitration: ``score = P x C x V x L``. Propensity, context weight, value to the company, business lever."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Factors:
    """The four factors of a score, as they are returned."""

    P: float
    C: float
    V: float
    L: float

    @property
    def score(self) -> float:
        """Their product."""
        return self.P * self.C * self.V * self.L
