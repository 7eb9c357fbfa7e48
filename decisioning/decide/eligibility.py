"""Which offers may be chosen: live, meeting their rules, with consent, within contact policy and capacity. Pure."""

from collections.abc import Sequence

import numpy as np

from bandits.policy import BoolArray
from decisioning.catalog.placement_view import PlacementView
from decisioning.contact.history import Contact
from decisioning.decide.arbitration import met, met_by_tier
from profiles.customer import Customer, Profile
from rules.evaluation import Evaluation


def consented(view: PlacementView, customer: Customer) -> BoolArray:
    """Which rows the customer agreed to (or, where consent is not the legal basis, did not object to)."""
    mask = np.ones(len(view.offers), dtype=bool)
    for purpose, needed, rows in view.consents:
        if needed:
            if not customer.consents_to(purpose, view.placement.channel):
                mask &= ~rows
        elif customer.consents.get(purpose) == ():
            mask &= ~rows
    return mask


def allowed(
    view: PlacementView,
    profile: Profile,
    history: Sequence[Contact] | None,
    evaluation: Evaluation,
    exhausted: frozenset[int],
    now_ms: int,
    *,
    eligibility_only: bool = False,
) -> BoolArray:
    """Which rows may be chosen: in their dates, meeting their rules, with consent, within contact policy and capacity.

    ``history`` is ``None`` when it cannot be read. ``exhausted``: numbers of offers without capacity left.
    ``eligibility_only``: of the tiers of rules, only the first counts. Returns a fresh array of shape ``(n,)``.
    """
    mask = view.live(now_ms)
    if view.when is not None and not evaluation.holds(view.when):
        mask[:] = False
        return mask
    if view.conditions.shared or view.conditions.own:
        mask &= met_by_tier(view, evaluation)["eligibility"] if eligibility_only else met(view, evaluation)
    if view.consents:
        mask &= consented(view, profile.customer)
    mask &= view.contact.allowed(profile.customer, history, now_ms)
    if exhausted:
        mask &= ~np.isin(view.numbers, list(exhausted))
    return mask


def eligible_defaults(
    view: PlacementView,
    profile: Profile,
    history: Sequence[Contact] | None,
    evaluation: Evaluation,
    now_ms: int,
) -> BoolArray:
    """Which rows may be shown as defaults: eligible, with consent, and without any limit that would have to be kept.

    Applicability, suitability and minimum propensities are for what is chosen, not for defaults.
    """
    mask = view.live(now_ms) & met_by_tier(view, evaluation)["eligibility"]
    mask &= consented(view, profile.customer)
    mask &= view.contact.allowed(profile.customer, history, now_ms)
    for row in np.flatnonzero(mask).tolist():
        mask[row] = not view.contact.limited(row, profile.customer)
    return mask
