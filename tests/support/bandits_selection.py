"""Shared by the tests of policies: views to choose from, and statistics with a known error rate."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.policy import BoolArray, FloatArray, IntArray, Policy, PolicySpec, Sums
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.ranking import SelectionContext, weigh
from decisioning.decide.ranking import select as select_contest
from decisioning.model.entities import Group, Offer, Placement, Treatment
from decisioning.model.selection import Selection


def view_of(
    numbers: Sequence[int],
    values: Sequence[float] | None = None,
    slots: int = 3,
    groups: Mapping[int, str] | None = None,
) -> PlacementView:
    """A view with offers of these numbers (in rising order) and values; all of one group unless ``groups`` says."""
    names = {number: "g" if groups is None else groups[number] for number in numbers}
    treatment = Treatment(treatment_id="t", channel="web", language="en", title="", message="")
    offers = {
        f"o{number}": Offer(
            offer_id=f"o{number}",
            number=number,
            name="",
            group=names[number],
            value=value,
            treatments=(treatment,),
        )
        for number, value in zip(numbers, values or [1.0] * len(numbers), strict=True)
    }
    placement = Placement(placement_id="home", channel="web", slots=slots)
    known = {name: Group(name, "Group", "grow") for name in names.values()}
    return Catalogue(version=1, groups=known, offers=offers, placements={"home": placement}).view("home")


def chi_squared_score(observed: Iterable[float], expected: Iterable[float], *, fitted: int = 1) -> float:
    """Pearson's statistic as a standard normal score (Wilson and Hilferty, PNAS 17, 1931); 4 is 1 in 30,000.

    Degrees of freedom are the cells less `fitted`. Cells that expect fewer than 5 are pooled into one.
    """
    pairs = sorted(zip(expected, observed, strict=True), reverse=True)
    cells = [(e, o) for e, o in pairs if e >= 5]
    rest = [(e, o) for e, o in pairs if e < 5]
    if rest:
        cells.append((sum(e for e, _ in rest), sum(o for _, o in rest)))
    statistic = sum((o - e) ** 2 / e for e, o in cells if e > 0)
    assert all(o == 0 for e, o in cells if e == 0), "something happened that had no chance"
    freedom = sum(e > 0 for e, _ in cells) - fitted
    spread = 2.0 / (9.0 * freedom)
    return float(((statistic / freedom) ** (1.0 / 3.0) - (1.0 - spread)) / math.sqrt(spread))


def binomial_bounds(trials: int, chance: float, score: float = 4.0) -> tuple[float, float]:
    """Between which counts a binomial lies but for 1 time in 16,000 (normal approximation)."""
    middle, spread = trials * chance, math.sqrt(trials * chance * (1 - chance))
    return middle - score * spread, middle + score * spread


def counts(values: Iterable[Any], keys: Iterable[Any]) -> Mapping[Any, int]:
    """Count each of `keys`; every value must be one of them."""
    found = dict.fromkeys(keys, 0)
    for value in values:
        found[value] += 1
    return found


def sums(n: float, s: float, e: float) -> FloatArray:
    """The state of one thompson arm: observations, acceptances, expected acceptances."""
    return np.array([n, s, e])


def arms(offers: IntArray, own: FloatArray, shared: FloatArray | None = None) -> Sums:
    """Arms that hold these sums, shape ``(n, width)``; nothing is shared unless it is given."""
    return Sums(offers, own, np.zeros(own.shape[1]) if shared is None else shared)


def specification(algorithm: str, **parameters: Any) -> PolicySpec:
    """Version 1 of a policy that is called like its algorithm."""
    return PolicySpec(algorithm, 1, algorithm, parameters)


def select(
    view: PlacementView,
    available: BoolArray,
    base_propensities: NDArray[np.float32],
    policy: Policy,
    prepared: Any,
    slots: int,
    decision_id: str,
) -> Selection:
    """A selection in a placement without dates, as the engine makes it."""
    selection_context = SelectionContext(
        view, available, base_propensities, weigh(view, None), 0, slots, decision_id
    )
    return select_contest(selection_context, policy, prepared)
