"""Assignment of customers to experiment groups: champion, canary, a control group, or the caller's own choice."""

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal

import numpy as np

from bandits.policy import PolicyKey, PolicySpec
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.ranking import SelectionContext
from decisioning.model.deployment import CONTROL_POLICIES, ControlKind, Deployment
from decisioning.model.entities import Placement

Group = Literal["champion", "canary", "control", "caller"] | ControlKind


@dataclass(frozen=True, slots=True)
class Assignment:
    """The policy that decides (``name@version``), and as part of which group.

    ``control``: the group is there to compare others with.
    """

    policy: str
    group: Group

    @property
    def control(self) -> bool:
        """True for control groups."""
        return self.group not in ("champion", "canary", "caller")

    @property
    def eligibility_only(self) -> bool:
        """True if eligibility is the only tier of rules that counts."""
        return self.group == "eligibility_only"


def assign(customer_id: str, view: PlacementView, deployment: Deployment | None) -> Assignment:
    """Assign the customer to an experiment group. Sticky: it depends on the customer and the placement's salt alone.

    Groups take their shares of one fixed order of the customers: controls from its beginning, the canary from its end.
    So a growing canary keeps its customers, and none of the controls'.
    """
    placement, champion = view.placement, view.champion
    at = _position_in_order(customer_id, placement)
    if at < placement.control_share:
        return Assignment(PolicyKey.of(placement.control_policy, 1), "control")
    if deployment is None:
        return Assignment(champion, "champion")
    end = placement.control_share
    for control in deployment.controls:
        end += control.share
        if at < end:
            return Assignment(CONTROL_POLICIES.get(control.kind, champion), control.kind)
    if deployment.canary is not None and at >= 1.0 - deployment.canary.share:
        return Assignment(deployment.canary.policy, "canary")
    return Assignment(champion, "caller" if deployment.apprentice else "champion")


def _position_in_order(customer_id: str, placement: Placement) -> float:
    """Hash a customer to a position in the placement's fixed order of all customers: in [0, 1)."""
    salt = placement.experiment_salt or placement.placement_id
    digest = blake2b(f"{salt}/{customer_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53


def adjust_weights_for_group(context: SelectionContext, group: str, spec: PolicySpec) -> SelectionContext:
    """Adjust the weights of a selection for a group and a policy.

    Without levers, ``L`` is 1. For a policy that learns from value, what it expects is money already, so ``V`` is the
    same for all: the amount that its propensities are shares of.
    """
    weights = context.weights
    if group == "no_levers":
        weights = replace(weights, L=np.ones(len(weights.L)))
    if spec.learn_from == "value" and "V" not in context.view.placement.off:
        weights = replace(weights, V=np.full(len(weights.V), spec.value_scale))
    return context if weights is context.weights else replace(context, weights=weights)
