"""From candidates to a ranking. Pure: the same inputs give the same ranking, bit for bit.

Arbitration is ``score = P x C x V x L``: propensity, context weight, value to the company, business lever.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.policy import NO_FACTS, BoolArray, Candidates, Distribution, Facts, FloatArray, Policy
from bandits.sampling import draw_slots, with_floor
from bandits.sequential_policy import is_learner
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.facts import offer_facts
from decisioning.model.decision import Contact
from decisioning.model.selection import Choice, Factors, Selection, UnitPrice, Withheld
from decisioning.model.weights import Weights, switched_off
from profiles.customer import Customer
from rules.evaluation import Evaluation

ARBITRATED, OVERRIDDEN, MANDATORY = range(3)
"""Classes of candidates; a higher one comes first."""


def weigh(view: PlacementView, evaluation: Evaluation | None) -> Weights:
    """Return the weights of a request. ``evaluation`` may be ``None`` if the view is not ``dynamic``."""
    if evaluation is None or not view.dynamic:
        return view.base_weights
    return apply_switches(view, compute_context_weights(view, evaluation), compute_values(view, evaluation))


def apply_switches(view: PlacementView, c: FloatArray, v: FloatArray) -> Weights:
    """Apply the placement's switches to ``c`` and ``v``, as computed or as they were logged."""
    return switched_off(view.placement, c, v, view.lever)


def compute_context_weights(view: PlacementView, evaluation: Evaluation) -> FloatArray:
    """Compute ``C``: one plus the sum of the percents of all context weights that hold, never below 0."""
    total = np.zeros(len(view.offers))
    for when, gives in view.weights:
        if evaluation.holds(when):
            total += gives
    return np.maximum(1.0 + total / 100.0, 0.0)


def compute_values(view: PlacementView, evaluation: Evaluation) -> FloatArray:
    """Compute ``V``: the offers' values; expressions where they can be evaluated, never below 0."""
    found = view.value.copy()
    for row, expression in view.values:
        if "offer" in expression.roots:
            number = evaluation.with_offer(offer_facts(view, row)).number(expression)
        else:
            number = evaluation.number(expression)
        if number is not None:
            found[row] = max(number, 0.0)
    return found


def priority_classes(view: PlacementView, now_ms: int) -> NDArray[np.int8]:
    """Return the class of each row: 2 mandatory, 1 overridden at ``now_ms``, 0 all others. Higher comes first."""
    classes = np.zeros(len(view.offers), dtype=np.int8)
    for starts_ms, ends_ms, rows in view.overrides:
        if starts_ms <= now_ms < ends_ms:
            classes[rows] = OVERRIDDEN
    classes[view.mandatory] = MANDATORY
    return classes


WEIGHTS_ONLY_EPSILON = 0.05


Units = tuple[tuple[int, tuple[int, ...]], ...]
"""Capacities with fewer units than an answer may need: the units left, and the numbers of the offers that need one."""
NO_UNITS: Units = ()


@dataclass(frozen=True, slots=True)
class SharedLimits:
    """The customer's and the household's contacts, and the units, that the offers of one answer use up together."""

    customer: Customer
    history: Sequence[Contact]
    units: Units
    household: Sequence[Contact] = ()

    @classmethod
    def of(
        cls,
        view: PlacementView,
        customer: Customer,
        history: Sequence[Contact] | None,
        units: Units,
        slots: int,
        household: Sequence[Contact] | None = (),
    ) -> "SharedLimits | None":
        """Return the limits that an answer of ``slots`` may reach by itself; ``None`` if there are none."""
        if slots < 2 or not (units or view.contact.is_shared(customer)):
            return None
        return cls(customer, history or (), units, household or ())

    def exclude_after(self, chosen: Sequence[int], view: PlacementView, now_ms: int, left: BoolArray) -> None:
        """Clear in ``left`` the rows that the rows ``chosen`` so far leave no contact or unit for."""
        view.contact.block_after(chosen, self.customer, self.history, now_ms, left, self.household)
        for units, numbers in self.units:
            if np.isin(view.numbers[chosen], numbers).sum() >= units:
                left &= ~np.isin(view.numbers, numbers)


@dataclass(frozen=True, slots=True)
class SelectionContext:
    """Everything that a selection depends on, apart from the policy: one request's view of its candidates.

    ``facts``: what policies make their features of, by path. ``caller_choice``: the rows of the caller's own choice, in
    its order, if that is what is answered. ``limits``: those that the answer may reach by itself. ``prices``: of units
    of capacity that are kept for value; none where it is known what was withheld.
    """

    view: PlacementView
    available: BoolArray
    base_propensities: NDArray[np.float32]
    weights: Weights
    now_ms: int
    slots: int
    decision_id: str
    facts: Facts = field(default_factory=lambda: NO_FACTS)
    caller_choice: tuple[int, ...] | None = None
    limits: SharedLimits | None = None
    prices: tuple[UnitPrice, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoredCandidates:
    """A policy's scores of the candidates, before anything is drawn.

    ``expected``: its propensities of all rows. ``left``: available rows that are not below their minimum propensity.
    ``unlikely`` and ``withheld``: as in ``Selection``.
    """

    candidates: Candidates
    expected: FloatArray
    left: BoolArray
    unlikely: tuple[tuple[int, float], ...] = ()
    withheld: tuple[Withheld, ...] = ()


def score_candidates(context: SelectionContext, policy: Policy, prepared: Any) -> ScoredCandidates:
    """Score the candidates with a policy, and leave out those below their minimum propensity or their unit's price."""
    x = policy.encoder.encode(context.facts, context.now_ms)
    source, base_propensities = getattr(policy, "propensity_source", None), context.base_propensities
    if source is not None:
        known = source.propensities(context.facts, context.view.numbers, base_propensities)
        base_propensities = known.astype(np.float32)
    candidates = Candidates(
        context.view.numbers,
        base_propensities,
        context.weights.product,
        x,
        context.facts,
    )
    expected = policy.propensities(prepared, candidates)
    left = context.available
    unlikely: tuple[tuple[int, float], ...] = ()
    withheld: tuple[Withheld, ...] = ()
    if context.view.has_min_propensity:
        left, unlikely = _drop_unlikely(context, policy, candidates, expected)
    if context.prices:
        left, withheld = _drop_underpriced(context, policy, expected, left)
    return ScoredCandidates(candidates, expected, left, unlikely, withheld)


def slot_distribution(
    context: SelectionContext, policy: Policy, prepared: Any, candidates: Candidates
) -> Distribution:
    """Return the distribution that slots are drawn from: the policy's, or by weight alone where ``P`` is off."""
    if context.weights.use_p:
        return policy.selector(prepared, candidates)
    return _distribute_by_weight(candidates.weight)


def select(context: SelectionContext, policy: Policy, prepared: Any) -> Selection:
    """Score the candidates, and draw the slots with a generator that is seeded by the decision id.

    Where the caller's own choice is answered, the policy only scores it.
    """
    view = context.view
    found = score_candidates(context, policy, prepared)
    left, expected, left_out = found.left, found.expected, (found.unlikely, found.withheld)
    if context.caller_choice is not None:
        # What is too unlikely, or worth too little, is the policy's judgement: it must not overrule the caller's.
        left, left_out = context.available, ((), ())
    if not left.any():
        return Selection(
            (),
            view.numbers[:0],
            context.base_propensities[:0],
            propensities=expected,
            unlikely=left_out[0],
            withheld=left_out[1],
        )
    rules = slot_rules(context)
    counted = expected if context.weights.use_p else np.ones(len(view.offers))
    if context.caller_choice is not None:
        chosen = _select_callers_choice(context.caller_choice, left, context.slots, rules)
        return _make_selection(context, chosen, left, expected, counted, left_out)
    distribution = slot_distribution(context, policy, prepared, found.candidates)
    chosen = draw_slots(distribution, left, context.slots, context.decision_id, rules)
    return _make_selection(context, chosen, left, expected, counted, left_out)


def _select_callers_choice(
    caller_choice: Sequence[int], available: BoolArray, slots: int, rules: "SlotRanking | None"
) -> list[tuple[int, float]]:
    """Give slots to the caller's own choice, as far as it is allowed; nothing is left to chance."""
    left = available.copy()
    chosen: list[tuple[int, float]] = []
    for row in caller_choice:
        if left[row] and len(chosen) < slots:
            chosen.append((row, 1.0))
            left[row] = False
            if rules is not None:
                rules.exclude_after(row, left)
    return chosen


def _make_selection(
    context: SelectionContext,
    chosen: Sequence[tuple[int, float]],
    left: BoolArray,
    expected: FloatArray,
    propensities: FloatArray,
    left_out: tuple[tuple[tuple[int, float], ...], tuple[Withheld, ...]],
) -> Selection:
    """Describe a selection of ``chosen`` (row and probability by rank) out of ``left``.

    ``expected``: the policy's propensities; ``propensities``: as they count in the score. ``left_out``: ``unlikely``
    and ``withheld`` of ``Selection``.
    """
    view, weights, choices = context.view, context.weights, []
    for rank, (row, probability) in enumerate(chosen, start=1):
        p, c, v = float(propensities[row]), float(weights.C[row]), float(weights.V[row])
        lever = float(weights.L[row])
        choices.append(
            Choice(
                offer=view.offers[row],
                row=row,
                rank=rank,
                factors=Factors(p, c, v, lever),
                score=p * c * v * lever,
                probability=probability,
                base_propensity=float(context.base_propensities[row]),
                expected=float(expected[row]),
            )
        )
    factors = np.stack((weights.C[left], weights.V[left])) if view.dynamic else None
    if left.all():
        return Selection(
            tuple(choices), view.numbers, context.base_propensities, factors, expected, *left_out
        )
    return Selection(
        tuple(choices), view.numbers[left], context.base_propensities[left], factors, expected, *left_out
    )


def _drop_unlikely(
    context: SelectionContext, policy: Policy, candidates: Candidates, propensities: FloatArray
) -> tuple[BoolArray, tuple[tuple[int, float], ...]]:
    """Split the available rows into those at or above their minimum propensity (a mask), and those below.

    Where nothing is known (no propensity, and a policy that learns nothing) nothing is below.
    """
    view = context.view
    low = propensities < view.min_propensity
    if not is_learner(policy) and not getattr(policy, "has_model", False):
        low &= ~np.isnan(candidates.base_propensity)
    low &= context.available
    unlikely = zip(view.numbers[low].tolist(), propensities[low].tolist(), strict=True)
    return context.available & ~low, tuple(unlikely)


def _drop_underpriced(
    context: SelectionContext, policy: Policy, propensities: FloatArray, left: BoolArray
) -> tuple[BoolArray, tuple[Withheld, ...]]:
    """Split the rows ``left`` into those that are worth a unit of their capacities (a mask), and those that are not.

    Mandatory offers stay, and all of them where values do not count, or nothing is known (as in ``_drop_unlikely``).
    """
    view, values = context.view, context.weights.V
    if "V" in view.placement.off:
        return left, ()
    withheld: dict[int, Withheld] = {}
    mandatory = priority_classes(view, context.now_ms) == MANDATORY
    known = (
        np.ones(len(view.offers), dtype=bool) if is_learner(policy) else ~np.isnan(context.base_propensities)
    )
    for unit in context.prices:
        worth = values if unit.by_acceptance else propensities * values
        low = left & known & ~mandatory & (worth < unit.price) & np.isin(view.numbers, list(unit.numbers))
        for row in np.flatnonzero(low).tolist():
            number, price = int(view.numbers[row]), unit.price
            found = Withheld(number, float(propensities[row]), float(values[row]), price, unit.capacity_id)
            if row not in withheld or withheld[row].price < price:
                withheld[row] = found
    if not withheld:
        return left, ()
    left = left.copy()
    left[list(withheld)] = False
    return left, tuple(withheld[row] for row in sorted(withheld))


def slot_rules(context: SelectionContext) -> "SlotRanking | None":
    """Return the rules for slots beside the policy's own; ``None`` if there are none."""
    return SlotRanking(context) if context.view.has_slot_rules or context.limits is not None else None


class SlotRanking:
    """Draws each slot among the highest class that is left (mandatory, overridden, all others).

    Offers that must not stand beside an earlier choice drop out, and those for which it used up a limit or a capacity.
    Mandatory offers are not drawn: they come in order.
    """

    def __init__(self, context: SelectionContext) -> None:
        self._view, self._limits, self._now_ms = context.view, context.limits, context.now_ms
        self._classes = priority_classes(context.view, context.now_ms)
        self._chosen: list[int] = []

    def contenders(self, left: BoolArray) -> tuple[BoolArray, bool]:
        """Return the highest class of the rows left, and whether it is mandatory."""
        highest = self._classes[left].max()
        return left & (self._classes == highest), bool(highest == MANDATORY)

    def exclude_after(self, index: int, left: BoolArray) -> None:
        """Clear the rows that must not stand beside ``index``, or cannot any more once it was chosen."""
        view = self._view
        self._chosen.append(index)
        if index in view.mutually_exclusive:
            left &= ~view.mutually_exclusive[index]
        if view.placement.max_per_group is not None:
            group = view.groups[index]
            if sum(view.groups[row] == group for row in self._chosen) >= view.placement.max_per_group:
                left &= view.groups != group
        if self._limits is not None:
            self._limits.exclude_after(self._chosen, view, self._now_ms, left)


def _distribute_by_weight(weight: FloatArray) -> Distribution:
    """Give the slot to the highest weight, equals sharing alike, mixed with a floor so that it can be evaluated."""

    def distribution(available: BoolArray) -> FloatArray:
        best = np.where(available, weight, -1.0)
        return with_floor((best == best.max()).astype(np.float64), available, WEIGHTS_ONLY_EPSILON)

    return distribution
