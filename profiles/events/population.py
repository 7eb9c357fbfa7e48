"""Usual values among all customers: mean and standard deviation of an aggregate over those who have any event."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from profiles.events.definitions import MILLION, EventDefinitions
from profiles.events.fold import State
from profiles.events.reading import MAX_DEVIATION, measured

MIN_CUSTOMERS = 30
"""With fewer there is no distribution to speak of."""


@dataclass(frozen=True, slots=True)
class Usual:
    """The distribution of a measure over ``customers``, as it was at ``at_ms`` (Unix ms)."""

    customers: int
    mean: float
    deviation: float
    at_ms: int

    def standardised(self, value: float) -> float | None:
        """Return by how many standard deviations a value is off the mean, cut; ``None`` with too few customers.

        Where all are alike it is 0 for what is like them, else as far as can be.
        """
        if self.customers < MIN_CUSTOMERS:
            return None
        away = value - self.mean
        if not self.deviation:
            return 0.0 if not away else MAX_DEVIATION if away > 0 else -MAX_DEVIATION
        return max(-MAX_DEVIATION, min(MAX_DEVIATION, away / self.deviation))


Population = Mapping[str, Usual]
"""Distributions by the field of the state that a measure is made of: a changed definition has another one."""


NOBODY: Population = {}


def compared_with_all(
    definitions: EventDefinitions, state: State, now_ms: int, population: Population
) -> dict[str, float]:
    """Return by how many standard deviations a customer is off what is usual, by the id of the aggregate.

    Left out is what there was no event of, and what nobody has surveyed yet.
    """
    values, found = measured(definitions, state, now_ms), {}
    for name, field, *_ in definitions.against_all:
        if field in values and field in population:
            deviation = population[field].standardised(values[field])
            if deviation is not None:
                found[name] = deviation
    return found


class Survey:
    """Adds up measures of one customer after the other, in whole millionths, so that their order does not matter."""

    def __init__(self, definitions: EventDefinitions, now_ms: int) -> None:
        self._definitions = definitions
        self._now_ms = now_ms
        self._sums = {field: [0, 0, 0] for _, field, *_ in definitions.against_all}

    def add(self, state: State) -> None:
        """Count a customer with each measure for which there was an event in its window."""
        for field, value in measured(self._definitions, state, self._now_ms).items():
            whole, sums = round(value * MILLION), self._sums[field]
            sums[0] += 1
            sums[1] += whole
            sums[2] += whole * whole

    def result(self) -> dict[str, Usual]:
        """Return the distributions; the deviation is that of a sample (n - 1)."""
        found = {}
        for field, (n, total, squares) in self._sums.items():
            variance = Fraction(n * squares - total * total, n * (n - 1)) if n > 1 else Fraction(0)
            mean = float(Fraction(total, n)) / MILLION if n else 0.0
            found[field] = Usual(n, mean, float(variance) ** 0.5 / MILLION, self._now_ms)
        return found
