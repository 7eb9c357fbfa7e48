"""From candidates to a ranking. Pure: the same inputs give the same ranking, bit for bit."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.policy import NO_FACTS, BoolArray, Candidates, Distribution, Facts, FloatArray, Policy
from bandits.sampling import draw_slots, with_floor
from bandits.sequential_policy import is_learner
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.arbitration import MANDATORY, priority
from decisioning.model.selection import Choice, Factors, Selection
from decisioning.model.weights import Weights

WEIGHTS_ONLY_EPSILON = 0.05


@dataclass(frozen=True, slots=True)
class SelectionContext:
    """Everything a selection depends on, apart from the policy: one request's view of its candidates.

    ``facts``: what policies make their features of, by path. ``wanted``: the rows of the caller's own choice, in its
    order, if that is what is answered.
    """

    view: PlacementView
    available: BoolArray
    base_propensities: NDArray[np.float32]
    weights: Weights
    now_ms: int
    slots: int
    decision_id: str
    facts: Facts = field(default_factory=lambda: NO_FACTS)
    wanted: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ScoredCandidates:
    """What a policy makes of a contest, before anything is drawn.

    ``expected``: its propensities of all rows. ``left``: what is available and not below its minimum. ``unlikely``: as
    in ``Selection``.
    """

    candidates: Candidates
    expected: FloatArray
    left: BoolArray
    unlikely: tuple[tuple[int, float], ...] = ()


def score_candidates(selection_context: SelectionContext, policy: Policy, prepared: Any) -> ScoredCandidates:
    """Score what is available, and leave out what is too unlikely."""
    x = policy.encoder.encode(selection_context.facts, selection_context.now_ms)
    candidates = Candidates(
        selection_context.view.numbers,
        selection_context.base_propensities,
        selection_context.weights.product,
        x,
        selection_context.facts,
    )
    expected = policy.propensities(prepared, candidates)
    if selection_context.view.has_min_propensity:
        return ScoredCandidates(candidates, expected, *_likely(selection_context, policy, expected))
    return ScoredCandidates(candidates, expected, selection_context.available)


def distribution_of(
    selection_context: SelectionContext, policy: Policy, prepared: Any, candidates: Candidates
) -> Distribution:
    """What slots are drawn from, as a function of what is left: by the policy, or by weight where ``P`` is off."""
    if selection_context.weights.use_p:
        return policy.selector(prepared, candidates)
    return _by_weight(candidates.weight)


def select(selection_context: SelectionContext, policy: Policy, prepared: Any) -> Selection:
    """Score what is available, and draw the slots with a generator that is seeded by the decision id."""
    view = selection_context.view
    found = score_candidates(selection_context, policy, prepared)
    left, expected, unlikely = found.left, found.expected, found.unlikely
    if selection_context.wanted is not None:
        # What is too unlikely is the policy's judgement: it must not overrule the caller's.
        left, unlikely = selection_context.available, ()
    if not left.any():
        return Selection(
            (),
            view.numbers[:0],
            selection_context.base_propensities[:0],
            propensities=expected,
            unlikely=unlikely,
        )
    rules = slot_rules(selection_context)
    counted = expected if selection_context.weights.use_p else np.ones(len(view.offers))
    if selection_context.wanted is not None:
        chosen = _as_wanted(selection_context.wanted, left, selection_context.slots, rules)
        return _selection(selection_context, chosen, left, expected, counted, unlikely)
    distribution = distribution_of(selection_context, policy, prepared, found.candidates)
    chosen = draw_slots(distribution, left, selection_context.slots, selection_context.decision_id, rules)
    return _selection(selection_context, chosen, left, expected, counted, unlikely)


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
                rules.exclude_after(row, left)
    return chosen


def _selection(
    selection_context: SelectionContext,
    chosen: Sequence[tuple[int, float]],
    left: BoolArray,
    expected: FloatArray,
    propensities: FloatArray,
    unlikely: tuple[tuple[int, float], ...],
) -> Selection:
    """``chosen`` (row and probability by rank), out of ``left``. ``propensities``: as they count in the score."""
    view, weights = selection_context.view, selection_context.weights
    choices = tuple(
        Choice(
            offer=view.offers[row],
            row=row,
            rank=rank,
            factors=Factors(
                float(propensities[row]), float(weights.C[row]), float(weights.V[row]), float(weights.L[row])
            ),
            probability=probability,
            base_propensity=float(selection_context.base_propensities[row]),
            expected=float(expected[row]),
        )
        for rank, (row, probability) in enumerate(chosen, start=1)
    )
    factors = np.stack((weights.C[left], weights.V[left])) if view.dynamic else None
    if left.all():
        return Selection(
            choices, view.numbers, selection_context.base_propensities, factors, expected, unlikely
        )
    return Selection(
        choices, view.numbers[left], selection_context.base_propensities[left], factors, expected, unlikely
    )


def _likely(
    selection_context: SelectionContext, policy: Policy, propensities: FloatArray
) -> tuple[BoolArray, tuple[tuple[int, float], ...]]:
    """What is available and not below its minimum propensity, and what is available but below.

    Where nothing is known (no propensity, and a policy that learns nothing) nothing is below.
    """
    view = selection_context.view
    low = propensities < view.min_propensity
    if not is_learner(policy):
        low &= ~np.isnan(selection_context.base_propensities)
    low &= selection_context.available
    unlikely = zip(view.numbers[low].tolist(), propensities[low].tolist(), strict=True)
    return selection_context.available & ~low, tuple(unlikely)


def slot_rules(selection_context: SelectionContext) -> "_Slots | None":
    """What else decides who runs for a slot; ``None`` if nothing does."""
    return _Slots(selection_context) if selection_context.view.has_slot_rules else None


class _Slots:
    """Each slot is drawn among the highest class that is left (mandatory, overridden, all others).

    What must not stand beside an earlier choice drops out. Mandatory offers are not drawn: they come in order.
    """

    def __init__(self, selection_context: SelectionContext) -> None:
        self._view = selection_context.view
        self._classes = priority(selection_context.view, selection_context.now_ms)
        self._chosen: list[int] = []

    def contenders(self, left: BoolArray) -> tuple[BoolArray, bool]:
        """The highest class of those left, and whether it is mandatory."""
        highest = self._classes[left].max()
        return left & (self._classes == highest), bool(highest == MANDATORY)

    def exclude_after(self, index: int, left: BoolArray) -> None:
        """Take out what must not stand beside ``index``, and its group when it has enough."""
        view = self._view
        self._chosen.append(index)
        if index in view.mutually_exclusive:
            left &= ~view.mutually_exclusive[index]
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
