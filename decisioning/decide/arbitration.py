"""Arbitration: ``score = P x C x V x L``. Propensity, context weight, value to the company, business lever."""

import numpy as np
from numpy.typing import NDArray

from bandits.policy import FloatArray
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.facts import offer_facts
from decisioning.model.weights import Weights, switched_off
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
