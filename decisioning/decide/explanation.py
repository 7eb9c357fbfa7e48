"""Why and why not: each candidate with everything that stopped it, and the survivors with their factors.

Explaining looks at every offer one by one and is slower than deciding; both must agree, and a property test holds
them together.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from decisioning.capacity.matching import stop_of
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.contact.history import Contact
from decisioning.decide.arbitration import offer_facts, priority
from decisioning.model.entities import FOREVER_MS, TIERS, Offer
from decisioning.model.selection import Selection
from decisioning.model.stop import Stop
from decisioning.model.weights import Weights
from profiles.customer import Profile
from rules.evaluation import Evaluation
from rules.expression import SEGMENT, Expression


@dataclass(frozen=True, slots=True)
class Situation:
    """One request as it was decided: what the explanation looks at again."""

    catalogue: Catalogue
    view: PlacementView
    profile: Profile
    history: Sequence[Contact] | None
    evaluation: Evaluation
    weights: Weights
    exhausted: frozenset[int]
    now_ms: int
    propensities: Sequence[float]
    selection: Selection
    eligibility_only: bool = False


def explain(situation: Situation) -> list[dict[str, Any]]:
    """Every offer of the catalogue: chosen, ready but not chosen with what would have made it first, or stopped.

    Sorted: chosen by rank, then the other survivors by score, then those that were stopped.
    """
    view, catalogue = situation.view, situation.catalogue
    rows = {offer.offer_id: row for row, offer in enumerate(view.offers)}
    ranks = {choice.row: choice.rank for choice in situation.selection.choices}
    left = set(situation.selection.candidates.tolist())
    best = _best_score(situation, left)
    explained = []
    for offer in sorted(catalogue.offers.values(), key=lambda o: o.number):
        row = rows.get(offer.offer_id)
        if row is None:
            explained.append(_stopped(offer, _outside(offer, view)))
            continue
        stops = stops_of(situation, row)
        if stops:
            explained.append(_stopped(offer, stops))
        else:
            explained.append(_survivor(situation, row, ranks.get(row), best))
    return sorted(explained, key=_order)


def stops_of(situation: Situation, row: int) -> list[Stop]:
    """Everything that stops a row of the view; empty exactly where the engine would let it run."""
    view, offer = situation.view, situation.view.offers[row]
    customer, now_ms = situation.profile.customer, situation.now_ms
    stops: list[Stop] = []
    if not view.live(now_ms)[row]:
        early = now_ms < offer.starts_ms
        again = offer.starts_ms if early else None
        required = {"from": offer.starts_ms, "to": None if offer.ends_ms == FOREVER_MS else offer.ends_ms}
        stops.append(Stop("dates", "not yet" if early else "over", now_ms, required, again))
    if view.when is not None and not situation.evaluation.holds(view.when):
        stops.append(
            _unmet(situation, "placement", f"placement {view.placement.placement_id}", view.when, row)
        )
    for tier in TIERS[:1] if situation.eligibility_only else TIERS:
        for rule in offer.rules:
            if rule.tier == tier:
                expression = situation.catalogue.checker.check(rule.when)
                if not _holds(situation, expression, row):
                    stops.append(_unmet(situation, tier, rule.name, expression, row))
    stops += _consent_stops(offer, view, situation.profile)
    stops += view.contact.stops(row, customer, situation.history, now_ms)
    if offer.number in situation.exhausted:
        capacities = situation.catalogue.capacities.values()
        counted = situation.history is not None
        stops.append(stop_of(capacities, offer, view.placement.channel, now_ms, counted=counted))
    low = float(view.min_propensity[row])
    if not stops and offer.number not in situation.selection.candidates:
        found = float(situation.propensities[row])
        if found < low:
            stops.append(Stop("propensity", "minimum propensity", found, low))
        else:
            stops.append(Stop("contact", "a limit that was reached by another decision meanwhile"))
    return stops


def _consent_stops(offer: Offer, view: PlacementView, profile: Profile) -> list[Stop]:
    purpose, channel = offer.requires_consent, view.placement.channel
    if purpose is None:
        return []
    given = profile.customer.consents.get(purpose)
    if offer.legal_basis != "consent":
        return [Stop("consent", purpose, "objected", "no objection")] if given == () else []
    if profile.customer.consents_to(purpose, channel):
        return []
    return [Stop("consent", purpose, "none" if given is None else list(given), channel)]


def _outside(offer: Offer, view: PlacementView) -> list[Stop]:
    """Why an offer is not in the placement's view at all."""
    stops = []
    if offer.status not in ("live", "scheduled"):
        stops.append(Stop("status", offer.status, offer.status, "live"))
    channel = view.placement.channel
    if not any(t.channel == channel for t in offer.treatments):
        stops.append(Stop("channel", "treatment", sorted({t.channel for t in offer.treatments}), channel))
    return stops


def _holds(situation: Situation, expression: Expression, row: int) -> bool:
    evaluation = situation.evaluation
    if "offer" in expression.roots:
        return evaluation.with_offer(offer_facts(situation.view, row)).holds(expression)
    return evaluation.holds(expression)


def _unmet(situation: Situation, stage: Any, name: str, expression: Expression, row: int) -> Stop:
    facts = situation.evaluation.facts(offer_facts(situation.view, row))
    looked_at = [*sorted(expression.paths), *(f"{SEGMENT}.{name}" for name in sorted(expression.segments))]
    return Stop(stage, name, {path: facts(path) for path in looked_at}, expression.source)


def _stopped(offer: Offer, stops: list[Stop]) -> dict[str, Any]:
    first = stops[0]
    return {
        "offer_id": offer.offer_id,
        "result": "stopped",
        "stage": first.stage,
        "stops": [asdict(s) for s in stops],
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
    rows = [row for row, number in enumerate(situation.view.numbers.tolist()) if number in left]
    return max((_score(_factors(situation, row)) for row in rows), default=0.0)


def _survivor(situation: Situation, row: int, rank: int | None, best: float) -> dict[str, Any]:
    factors = _factors(situation, row)
    score = _score(factors)
    found: dict[str, Any] = {
        "offer_id": situation.view.offers[row].offer_id,
        "result": "ready" if rank is None else "chosen",
        "rank": rank,
        "score": score,
        "factors": factors,
        "class": _CLASSES[int(priority(situation.view, situation.now_ms)[row])],
    }
    if score < best:
        found["first_if"] = _first_if(factors, score, best)
    return found


_CLASSES: tuple[str, ...] = ("arbitrated", "overridden", "mandatory")


def _first_if(factors: dict[str, float], score: float, best: float) -> dict[str, float | None]:
    """What each factor alone would have to be for the highest score; ``None`` where it cannot."""
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
