"""From candidates to a ranking. Pure: the same inputs give the same ranking, bit for bit."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.policy import NO_FACTS, BoolArray, Candidates, Distribution, Facts, FloatArray, Policy
from bandits.sampling import draw_slots, with_floor
from bandits.sequential_policy import learns
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.arbitration import MANDATORY, priority
from decisioning.model.selection import Choice, Factors, Selection
from decisioning.model.weights import Weights

WEIGHTS_ONLY_EPSILON = 0.05


@dataclass(frozen=True, slots=True)
class Contest:
    """Everything a selection depends on, apart from the policy: one request's view of its candidates.

    ``facts``: what policies make their features of, by path. ``wanted``: the rows of the caller's own choice, in its
    order, if that is what is answered.
    """

    view: PlacementView
    available: BoolArray
    priors: NDArray[np.float32]
    weights: Weights
    now_ms: int
    slots: int
    decision_id: str
    facts: Facts = field(default_factory=lambda: NO_FACTS)
    wanted: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Prospects:
    """What a policy makes of a contest, before anything is drawn.

    ``expected``: its propensities of all rows. ``left``: what is available and not below its minimum. ``unlikely``: as
    in ``Selection``.
    """

    candidates: Candidates
    expected: FloatArray
    left: BoolArray
    unlikely: tuple[tuple[int, float], ...] = ()


def prospects(contest: Contest, policy: Policy, prepared: Any) -> Prospects:
    """Score what is available, and leave out what is too unlikely."""
    x = policy.encoder.encode(contest.facts, contest.now_ms)
    candidates = Candidates(contest.view.numbers, contest.priors, contest.weights.product, x, contest.facts)
    expected = policy.propensities(prepared, candidates)
    if contest.view.picky:
        return Prospects(candidates, expected, *_likely(contest, policy, expected))
    return Prospects(candidates, expected, contest.available)


def distribution_of(contest: Contest, policy: Policy, prepared: Any, candidates: Candidates) -> Distribution:
    """What slots are drawn from, as a function of what is left: by the policy, or by weight where ``P`` is off."""
    if contest.weights.use_p:
        return policy.selector(prepared, candidates)
    return _by_weight(candidates.weight)


def select(contest: Contest, policy: Policy, prepared: Any) -> Selection:
    """Score what is available, and draw the slots with a generator that is seeded by the decision id."""
    view = contest.view
    found = prospects(contest, policy, prepared)
    left, expected, unlikely = found.left, found.expected, found.unlikely
    if contest.wanted is not None:
        # What is too unlikely is the policy's judgement: it must not overrule the caller's.
        left, unlikely = contest.available, ()
    if not left.any():
        return Selection((), view.numbers[:0], contest.priors[:0], propensities=expected, unlikely=unlikely)
    rules = slot_rules(contest)
    counted = expected if contest.weights.use_p else np.ones(len(view.offers))
    if contest.wanted is not None:
        chosen = _as_wanted(contest.wanted, left, contest.slots, rules)
        return _selection(contest, chosen, left, expected, counted, unlikely)
    distribution = distribution_of(contest, policy, prepared, found.candidates)
    chosen = draw_slots(distribution, left, contest.slots, contest.decision_id, rules)
    return _selection(contest, chosen, left, expected, counted, unlikely)


def _as_wanted(
    wanted: Sequence[int], available: BoolArray, slots: int, rules: "_Slots | None"
) -> list[tuple[int, float]]:
    """The caller's own choice, as far as it may be made: nothing is left to chance."""
    left = available.copy()
    chosen: list[tuple[int, float]] = []
    for row in wanted:
        if left[row] and len(chosen) < slots:
            chosen.append((row, 1.0))
            left[row] = False
            if rules is not None:
                rules.took(row, left)
    return chosen


def _selection(
    contest: Contest,
    chosen: Sequence[tuple[int, float]],
    left: BoolArray,
    expected: FloatArray,
    propensities: FloatArray,
    unlikely: tuple[tuple[int, float], ...],
) -> Selection:
    """``chosen`` (row and probability by rank), out of ``left``. ``propensities``: as they count in the score."""
    view, weights = contest.view, contest.weights
    choices = tuple(
        Choice(
            offer=view.offers[row],
            row=row,
            rank=rank,
            factors=Factors(
                float(propensities[row]), float(weights.C[row]), float(weights.V[row]), float(weights.L[row])
            ),
            probability=probability,
            prior=float(contest.priors[row]),
            expected=float(expected[row]),
        )
        for rank, (row, probability) in enumerate(chosen, start=1)
    )
    factors = np.stack((weights.C[left], weights.V[left])) if view.dynamic else None
    if left.all():
        return Selection(choices, view.numbers, contest.priors, factors, expected, unlikely)
    return Selection(choices, view.numbers[left], contest.priors[left], factors, expected, unlikely)


def _likely(
    contest: Contest, policy: Policy, propensities: FloatArray
) -> tuple[BoolArray, tuple[tuple[int, float], ...]]:
    """What is available and not below its minimum propensity, and what is available but below.

    Where nothing is known (no propensity, and a policy that learns nothing) nothing is below.
    """
    view = contest.view
    low = propensities < view.min_propensity
    if not learns(policy):
        low &= ~np.isnan(contest.priors)
    low &= contest.available
    unlikely = zip(view.numbers[low].tolist(), propensities[low].tolist(), strict=True)
    return contest.available & ~low, tuple(unlikely)


def slot_rules(contest: Contest) -> "_Slots | None":
    """What else decides who runs for a slot; ``None`` if nothing does."""
    return _Slots(contest) if contest.view.ruled else None


class _Slots:
    """Each slot is drawn among the highest class that is left (mandatory, overridden, all others).

    What must not stand beside an earlier choice drops out. Mandatory offers are not drawn: they come in order.
    """

    def __init__(self, contest: Contest) -> None:
        self._view = contest.view
        self._classes = priority(contest.view, contest.now_ms)
        self._chosen: list[int] = []

    def running(self, left: BoolArray) -> tuple[BoolArray, bool]:
        """The highest class of those left, and whether it is mandatory."""
        highest = self._classes[left].max()
        return left & (self._classes == highest), bool(highest == MANDATORY)

    def took(self, index: int, left: BoolArray) -> None:
        """Take out what must not stand beside ``index``, and its group when it has enough."""
        view = self._view
        self._chosen.append(index)
        if index in view.apart:
            left &= ~view.apart[index]
        if view.placement.max_per_group is not None:
            group = view.groups[index]
            if sum(view.groups[row] == group for row in self._chosen) >= view.placement.max_per_group:
                left &= view.groups != group


def _by_weight(weight: FloatArray) -> Distribution:
    """Without ``P``: the highest weight, equals sharing alike, mixed with a floor so that it can be evaluated."""

    def distribution(available: BoolArray) -> FloatArray:
        best = np.where(available, weight, -1.0)
        return with_floor((best == best.max()).astype(np.float64), available, WEIGHTS_ONLY_EPSILON)

    return distribution
