"""Hindsight: what another policy would have done in a decision that was logged; which are asked, and what is kept.

A slot is judged given what the slots before it took, so its chance compares with the probability that was logged there.
The reward model of a doubly robust estimate is the target's own: its propensities, at the arms it had then.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bandits.policy import FloatArray, Policy, PolicySpec
from bandits.sampling import slot_contenders, slot_distributions
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.policy_runner import adjust_weights_for_group
from decisioning.decide.ranking import SelectionContext, score_candidates, slot_distribution, slot_rules
from decisioning.model.decision import Decision, LoggedDecision
from decisioning.model.deployment import Deployment, champion_of
from decisioning.model.entities import Placement
from storage.clock import to_iso

Unusable = Literal[
    "imported", "default", "caller", "rules", "mandatory", "certain", "withdrawn", "catalogue", "failed"
]
MEANINGS: dict[str, str] = {
    "imported": "decided elsewhere: with which probability is not known",
    "default": "a default offer, or no policy decided",
    "caller": "the caller's own choice: nothing was left to chance",
    "rules": "decided with fewer rules (control group eligibility_only): the target would have chosen from less",
    "mandatory": "a mandatory offer: no policy chose it",
    "certain": "the logging policy had to choose this offer, though there were others (it does not explore)",
    "withdrawn": "taken back: the answer was not delivered",
    "catalogue": "the catalogue of that time lacks one of its candidates",
    "failed": "the target raised an error",
    "nothing": "nothing was shown",
    "open": "its reward window is still open, and acceptances are told before silence",
    "unobserved": "nobody confirmed in time that it was presented",
    "unpriced": "nobody knows what it was worth",
}
"""Reasons why a slot tells nothing of what another policy would have earned."""

Reward = Literal["acceptance", "value"]
ERROR_CHARS = 200


def count_left_out(slots: Mapping[str, int]) -> list[dict[str, Any]]:
    """List how many slots were left out for each reason, with what the reason means."""
    return [
        {"reason": reason, "slots": n, "meaning": MEANINGS.get(reason, "")}
        for reason, n in sorted(slots.items())
    ]


@dataclass(frozen=True, slots=True)
class CounterfactualSlot:
    """The choice that a target would have made in one slot of a logged decision, given the slots before it.

    ``logging_probability``: as logged, NaN if it is not known. ``target_probability``: of the offer that was shown.
    ``estimate``: the acceptance that the target expected of it; ``direct``: of its own choice in this slot, that is the
    sum over all candidates of its chance times what it expected. ``worth`` and ``direct_worth``: the same of values.
    ``best``: the offer that it would most likely have shown, 0 if none. ``unusable``: why this slot says nothing.
    """

    rank: int
    offer: int
    logging_probability: float
    target_probability: float
    estimate: float
    direct: float
    worth: float
    direct_worth: float
    best: int
    unusable: Unusable | None

    @property
    def agrees(self) -> bool:
        """True if the target would most likely have shown what was shown."""
        return self.best == self.offer


@dataclass(frozen=True, slots=True)
class CounterfactualDecision:
    """A logged decision as a target sees it.

    ``narrowed``: offers were left out for being below their minimum propensity, as the policy saw it that decided. The
    target may have seen that differently, which cannot be known.
    """

    slots: tuple[CounterfactualSlot, ...]
    narrowed: bool


def judge_decision(
    selection_context: SelectionContext,
    logged: LoggedDecision,
    spec: PolicySpec,
    policy: Policy,
    prepared: Any,
    group: str = "champion",
    most: int | None = None,
) -> CounterfactualDecision:
    """Judge what ``policy`` would have done, as ``group``, in the first ``most`` slots of a logged decision.

    At the arms with which it decided, and as its group, its chances are what was logged, bit for bit.
    """
    decision, view = logged.decision, selection_context.view
    seen = adjust_weights_for_group(selection_context, group, spec)
    found = score_candidates(seen, policy, prepared)
    rows = {number: row for row, number in enumerate(view.numbers.tolist())}
    taken = [rows[number] for number in decision.numbers[:most]]
    expected, worth = _models(spec, found.expected, _values(view, logged, rows))
    if found.left.any():
        distribution = slot_distribution(seen, policy, prepared, found.candidates)
        drawn_from = list(slot_distributions(distribution, found.left, taken, slot_rules(seen)))
    else:  # everything is below its minimum propensity: the target would have shown nothing
        drawn_from = [np.zeros(len(view.numbers))] * len(taken)
    # As the logging policy saw it: a probability of 1 is no choice where several offers were running.
    running = slot_contenders(selection_context.available, taken, slot_rules(selection_context))
    slots, snapshot = [], decision.customer_snapshot
    for rank, (row, chances, ran) in enumerate(zip(taken, drawn_from, running, strict=True), start=1):
        probability = decision.offers[rank - 1].probability
        logging_probability = math.nan if probability is None else probability
        slots.append(
            CounterfactualSlot(
                rank=rank,
                offer=decision.numbers[rank - 1],
                logging_probability=logging_probability,
                target_probability=float(chances[row]),
                estimate=float(expected[row]),
                direct=float(chances @ expected),
                worth=float(worth[row]),
                direct_worth=float(chances @ worth),
                best=int(view.numbers[int(np.argmax(chances))]) if chances.any() else 0,
                unusable=_unusable(decision, bool(view.mandatory[row]), logging_probability, int(ran.sum())),
            )
        )
    return CounterfactualDecision(
        tuple(slots), snapshot is not None and bool(snapshot.unlikely or snapshot.withheld)
    )


def _values(view: PlacementView, logged: LoggedDecision, rows: Mapping[int, int]) -> FloatArray:
    """``V`` of each row as it was, whether or not it counted in the score."""
    values = view.value.copy()
    if logged.factors is not None:
        values[[rows[number] for number in logged.candidates.tolist()]] = logged.factors[1]
    return values


def _models(spec: PolicySpec, propensities: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute what the target expects of each row: acceptances, and value."""
    expected = np.nan_to_num(propensities, nan=0.0)
    if not spec.learns_worth:
        return expected, expected * values
    # It expects shares of its scale; acceptances are then what that is of ``V``.
    worth = expected * spec.worth_scale - spec.loss_scale
    shares = np.divide(worth, values, out=np.zeros(len(worth)), where=values > 0)
    return np.clip(shares, 0.0, 1.0), worth


def _unusable(decision: Decision, mandatory: bool, probability: float, running: int) -> Unusable | None:
    """Find why a slot, for which so many were ``running``, tells nothing of other policies; ``None`` if it may."""
    if decision.source != "live":
        return "imported"
    if decision.logged_group == "caller" and decision.scored_by is not None:
        return "caller"
    if decision.logged_group == "eligibility_only":
        return "rules"
    if math.isnan(probability):
        return "default"
    if mandatory:
        return "mandatory"
    return "certain" if probability == 1.0 and running > 1 else None


def judged_policies(placement: Placement, deployment: Deployment) -> tuple[str, ...]:
    """Its shadows and its canary; the champion as well while it is an apprentice."""
    found = list(deployment.shadows)
    if deployment.canary is not None:
        found.append(deployment.canary.policy)
    if deployment.apprentice:
        found.append(champion_of(placement, deployment))
    return tuple(dict.fromkeys(found))


def shadows_of(catalogue: Catalogue) -> dict[str, tuple[str, ...]]:
    """The policies that are to be asked what they would have shown, by placement; only placements that have some."""
    found = {
        placement_id: judged_policies(catalogue.placements[placement_id], deployment)
        for placement_id, deployment in catalogue.deployments.items()
        if placement_id in catalogue.placements
    }
    return {placement_id: keys for placement_id, keys in found.items() if keys}


def shadow_rows(
    logged: LoggedDecision,
    key: str,
    judged: CounterfactualDecision | None,
    took_us: int,
    judged_ms: int,
    error: str | None,
) -> list[dict[str, Any]]:
    """The rows that are kept of one decision and policy: one for each slot, or one that tells the error."""
    shared = {
        "decided_at": to_iso(logged.decision.decided_at_ms),
        "decision_id": logged.decision_id,
        "policy": key,
        "placement": logged.decision.placement,
        "took_us": took_us,
        "judged_ms": judged_ms,
        "narrowed": judged is not None and judged.narrowed,
        "error": None if error is None else error[:ERROR_CHARS].replace("\x00", ""),  # Postgres refuses NUL
    }
    if judged is None:
        return [shared | {"rank": 0}]
    return [
        shared
        | {
            "rank": slot.rank,
            "offer_no": slot.offer,
            # Not NaN, which JSON does not have.
            "probability": None if math.isnan(slot.logging_probability) else slot.logging_probability,
            "chance": slot.target_probability,
            "estimate": slot.estimate,
            "direct": slot.direct,
            "worth": slot.worth,
            "direct_worth": slot.direct_worth,
            "best_no": slot.best,
            "unusable": slot.unusable,
        }
        for slot in judged.slots
    ]
