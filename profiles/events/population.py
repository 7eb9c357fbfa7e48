"""Usual values among all customers: mean and standard deviation of an aggregate over those who have any event.

Or over the cases of all customers, of how many events there were about each.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from profiles.events.definitions import MILLION, EventDefinitions
from profiles.events.fold import State
from profiles.events.reading import MAX_DEVIATION, contacts_by_case, measured, most_contacts

MIN_CUSTOMERS = 30
"""With fewer, or fewer cases, there is no distribution to speak of."""
PERCENTILE = 99
"""Of events about cases, what lies above this percentile counts as it: a few cases do not hide others."""


@dataclass(frozen=True, slots=True)
class Usual:
    """The distribution of a measure over ``customers``, or so many cases, as it was at ``at_ms`` (Unix ms)."""

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

    Left out is what there was no event of, of cases an open one, and what nobody has surveyed yet.
    """
    values, found = measured(definitions, state, now_ms), {}
    for _, field, contacts, window_ms in definitions.contacts:
        most = most_contacts(state, contacts, now_ms, window_ms) if field in population else 0
        if most:
            values[field] = float(most)
    named = [(one[0], one[1]) for one in definitions.against_all]
    named += [(one[0], one[1]) for one in definitions.contacts]
    for name, field in named:
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
        self._contacts = [one for one in definitions.contacts if one[1]]
        # Cases by how many events there were about each, of which there are no more than are kept of a customer.
        self._cases: dict[str, Counter[int]] = {one[1]: Counter() for one in self._contacts}

    def add(self, state: State) -> None:
        """Count a customer with each measure for which there was an event in its window."""
        for field, value in measured(self._definitions, state, self._now_ms).items():
            whole, sums = round(value * MILLION), self._sums[field]
            sums[0] += 1
            sums[1] += whole
            sums[2] += whole * whole
        for _, usual, contacts, window_ms in self._contacts:
            cases = contacts_by_case(state, contacts, self._now_ms, window_ms)
            self._cases[usual].update(case.events for case in cases)

    def result(self) -> dict[str, Usual]:
        """Return the distributions; the deviation is that of a sample (n - 1)."""
        found = {
            field: _usual(n, total, squares, MILLION, self._now_ms)
            for field, (n, total, squares) in self._sums.items()
        }
        for field, cases in self._cases.items():
            cut = without_outliers(cases)
            usual = _of_counts(cut, self._now_ms)
            found[field] = usual if usual.deviation else _of_counts(cases, self._now_ms)
        return found


def without_outliers(counts: Mapping[int, int]) -> Counter[int]:
    """Return counts, by how often each was found, with those above the percentile at it."""
    up_to, passed = 0, 0
    for count in sorted(counts):
        if 100 * passed >= PERCENTILE * sum(counts.values()):
            break
        up_to, passed = count, passed + counts[count]
    cut: Counter[int] = Counter()
    for count, often in counts.items():
        cut[min(count, up_to)] += often
    return cut


def _of_counts(counts: Mapping[int, int], at_ms: int) -> Usual:
    total = sum(count * often for count, often in counts.items())
    squares = sum(count * count * often for count, often in counts.items())
    return _usual(sum(counts.values()), total, squares, 1, at_ms)


def _usual(n: int, total: int, squares: int, unit: int, at_ms: int) -> Usual:
    """Return the distribution of ``n`` whole multiples of ``1 / unit`` with this sum and sum of squares."""
    variance = Fraction(n * squares - total * total, n * (n - 1)) if n > 1 else Fraction(0)
    mean = float(Fraction(total, n)) / unit if n else 0.0
    return Usual(n, mean, float(variance) ** 0.5 / unit, at_ms)
