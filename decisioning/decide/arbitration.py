"""Arbitration: ``score = P x C x V x L``. Propensity, context weight, value to the company, business lever."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.policy import BoolArray, FloatArray
from decisioning.catalog.placement_view import PlacementView
from decisioning.model.entities import Tier
from decisioning.model.weights import Weights, switched_off
from rules.evaluation import Evaluation

ARBITRATED, OVERRIDDEN, MANDATORY = range(3)
"""Classes of candidates; a higher one comes first."""


def weigh(view: PlacementView, evaluation: Evaluation | None) -> Weights:
    """The weights of a request. ``evaluation`` may be ``None`` if the view is not ``dynamic``."""
    if evaluation is None or not view.dynamic:
        return view.base_weights
    return switched(view, context_weights(view, evaluation), values(view, evaluation))


def switched(view: PlacementView, c: FloatArray, v: FloatArray) -> Weights:
    """Weights with the placement's switches applied; ``c`` and ``v`` as computed (or as they were logged)."""
    return switched_off(view.placement, c, v, view.lever)


def context_weights(view: PlacementView, evaluation: Evaluation) -> FloatArray:
    """``C``: one plus the sum of the percents of all context weights that hold, never below 0."""
    total = np.zeros(len(view.offers))
    for when, gives in view.weights:
        if evaluation.holds(when):
            total += gives
    return np.maximum(1.0 + total / 100.0, 0.0)


def values(view: PlacementView, evaluation: Evaluation) -> FloatArray:
    """``V``: the offers' values, computed where they are expressions (and can be), never below 0."""
    found = view.value.copy()
    for row, expression in view.values:
        if "offer" in expression.roots:
            number = evaluation.with_offer(offer_facts(view, row)).number(expression)
        else:
            number = evaluation.number(expression)
        if number is not None:
            found[row] = max(number, 0.0)
    return found


def offer_facts(view: PlacementView, row: int) -> Mapping[str, Any]:
    """What an expression may know of an offer."""
    offer = view.offers[row]
    return {
        **offer.attributes,
        "offer_id": offer.offer_id,
        "group": offer.group,
        "goal": view.goals[row],
        "value": offer.value,
    }


def priority(view: PlacementView, now_ms: int) -> NDArray[np.int8]:
    """The class of each row: 2 mandatory, 1 overridden at ``now_ms``, 0 all others. Higher comes first."""
    classes = np.zeros(len(view.offers), dtype=np.int8)
    for starts_ms, ends_ms, rows in view.overrides:
        if starts_ms <= now_ms < ends_ms:
            classes[rows] = OVERRIDDEN
    classes[view.mandatory] = MANDATORY
    return classes


def met_by_tier(view: PlacementView, evaluation: Evaluation) -> dict[Tier, BoolArray]:
    """The same by tier: which rows meet all their conditions of each."""
    failed = [i for i, expression in enumerate(view.conditions.shared) if not evaluation.holds(expression)]
    masks: dict[Tier, BoolArray] = {
        tier: np.logical_not(requires[failed].any(axis=0))
        for tier, requires in view.conditions.by_tier.items()
    }
    for row, expression, tier in view.conditions.own:
        masks[tier][row] &= evaluation.with_offer(offer_facts(view, row)).holds(expression)
    return masks


def met(view: PlacementView, evaluation: Evaluation) -> BoolArray:
    """Which rows meet all their conditions: shape ``(n,)``, a fresh array."""
    mask = np.ones(len(view.offers), dtype=bool)
    failed = [i for i, expression in enumerate(view.conditions.shared) if not evaluation.holds(expression)]
    if failed:
        mask &= ~view.conditions.requires[failed].any(axis=0)
    for row, expression, _ in view.conditions.own:
        if mask[row]:
            mask[row] = evaluation.with_offer(offer_facts(view, row)).holds(expression)
    return mask
