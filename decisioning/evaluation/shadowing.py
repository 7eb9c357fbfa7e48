"""The policies that run in the shadow of a placement, and the rows that are kept of their choices."""

import math
from typing import Any

from decisioning.catalog.catalogue import Catalogue
from decisioning.evaluation.counterfactual import CounterfactualDecision
from decisioning.model.decision import LoggedDecision
from decisioning.model.deployment import Deployment, champion_of
from decisioning.model.entities import Placement
from storage.clock import to_iso

ERROR_CHARS = 200


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
        "error": None if error is None else error[:ERROR_CHARS].replace("\x00", ""),
    }
    if judged is None:
        return [shared | {"rank": 0}]
    return [
        shared
        | {
            "rank": slot.rank,
            "offer_no": slot.offer,
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
