"""Explanations: each offer chosen, ready but not chosen, or stopped, with reasons.

Explaining looks at every offer one by one and is slower than deciding; both follow from the same stages, and a property
test holds them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from decisioning.capacity.matching import underpriced_stop
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.eligibility import EligibilityInputs, stops_of
from decisioning.decide.ranking import priority_classes
from decisioning.model.entities import Offer
from decisioning.model.selection import Selection, Withheld
from decisioning.model.stop import Stop
from decisioning.model.weights import Weights

_OF_STOP = tuple(field.name for field in fields(Stop))
_CLASSES: tuple[str, ...] = ("arbitrated", "overridden", "mandatory")


@dataclass(frozen=True, slots=True)
class Situation:
    """One request as it was decided: what its explanation looks at again.

    ``weights``: as the policy saw them. ``propensities``: of every row of the view. ``withheld``: of a selection that
    was made again, of candidates that were left.
    """

    inputs: EligibilityInputs
    weights: Weights
    propensities: Sequence[float]
    selection: Selection
    withheld: tuple[Withheld, ...] = ()


def explain(situation: Situation) -> list[dict[str, Any]]:
    """Explain every offer of the catalogue: chosen, ready with what would have made it first, or stopped.

    Sorted: chosen by rank, then the other survivors by score, then those that were stopped.
    """
    view, catalogue = situation.inputs.view, situation.inputs.catalogue
    rows = {offer.offer_id: row for row, offer in enumerate(view.offers)}
    ranks = {choice.row: choice.rank for choice in situation.selection.choices}
    left = set(situation.selection.candidates.tolist())
    best = _best_score(situation, left)
    classes = priority_classes(view, situation.inputs.now_ms).tolist()
    explained = []
    for offer in sorted(catalogue.offers.values(), key=lambda o: o.number):
        row = rows.get(offer.offer_id)
        if row is None:
            explained.append(_stopped(offer, stops_outside_view(offer, view)))
            continue
        stops = stops_of(situation.inputs, row) or _stops_after_stages(situation, row, left)
        if stops:
            explained.append(_stopped(offer, stops))
        else:
            explained.append(_survivor(situation, row, ranks.get(row), best, _CLASSES[classes[row]]))
    return sorted(explained, key=_order)


def _stops_after_stages(situation: Situation, row: int, left: set[int]) -> list[Stop]:
    """Explain why a row that passed all stages was not among the candidates after all; empty if it was."""
    view = situation.inputs.view
    if view.offers[row].number in left:
        return []
    for withheld in situation.withheld or situation.selection.withheld:
        if withheld.number == view.offers[row].number:
            return [
                underpriced_stop(situation.inputs.catalogue.capacities.get(withheld.capacity_id), withheld)
            ]
    low, found = float(view.min_propensity[row]), float(situation.propensities[row])
    if found < low:
        return [Stop("propensity", "minimum propensity", found, low)]
    return [Stop("contact", "a limit that was reached by another decision meanwhile")]


def stops_outside_view(offer: Offer, view: PlacementView) -> list[Stop]:
    """Explain why an offer is not in the placement's view at all."""
    stops = []
    if offer.status not in ("live", "scheduled"):
        stops.append(Stop("status", offer.status, offer.status, "live"))
    channel = view.placement.channel
    if not any(t.channel == channel for t in offer.treatments):
        stops.append(Stop("channel", "treatment", sorted({t.channel for t in offer.treatments}), channel))
    return stops


def _stopped(offer: Offer, stops: list[Stop]) -> dict[str, Any]:
    first = stops[0]
    return {
        "offer_id": offer.offer_id,
        "result": "stopped",
        "stage": first.stage,
        "stops": [{name: getattr(stop, name) for name in _OF_STOP} for stop in stops],
    }


def _factors(situation: Situation, row: int) -> dict[str, float]:
    weights = situation.weights
    propensity = float(situation.propensities[row]) if weights.use_p else 1.0
    return {
        "P": propensity,
        "C": float(weights.C[row]),
        "V": float(weights.V[row]),
        "L": float(weights.L[row]),
    }


def _score(factors: dict[str, float]) -> float:
    return factors["P"] * factors["C"] * factors["V"] * factors["L"]


def _best_score(situation: Situation, left: set[int]) -> float:
    rows = [row for row, number in enumerate(situation.inputs.view.numbers.tolist()) if number in left]
    return max((_score(_factors(situation, row)) for row in rows), default=0.0)


def _survivor(situation: Situation, row: int, rank: int | None, best: float, priority: str) -> dict[str, Any]:
    factors = _factors(situation, row)
    score = _score(factors)
    found: dict[str, Any] = {
        "offer_id": situation.inputs.view.offers[row].offer_id,
        "result": "ready" if rank is None else "chosen",
        "rank": rank,
        "score": score,
        "factors": factors,
        "class": priority,
    }
    if score < best:
        found["first_if"] = _factors_to_be_first(factors, score, best)
    return found


def _factors_to_be_first(factors: dict[str, float], score: float, best: float) -> dict[str, float | None]:
    """Compute what each factor alone would have to be for the highest score; ``None`` where it cannot."""
    needed: dict[str, float | None] = {}
    for name, value in factors.items():
        others = score / value if value else _score(factors | {name: 1.0})
        wanted = best / others if others > 0 else None
        needed[name] = None if wanted is None or (name == "P" and wanted > 1) else wanted
    return needed


def _order(explained: dict[str, Any]) -> tuple[int, float]:
    if explained["result"] == "chosen":
        return 0, explained["rank"]
    if explained["result"] == "ready":
        return 1, -explained["score"]
    return 2, 0.0
