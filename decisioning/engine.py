"""From candidates to a ranking. Pure: the same inputs give the same ranking, bit for bit."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.exploration import draw_slots
from bandits.policy import BoolArray, Candidates, IntArray, Policy
from decisioning.arbitration import Factors
from decisioning.catalog import Offer, Placement, PlacementView
from decisioning.contact import Contact, within_limits
from profiles.customer import Profile


@dataclass(frozen=True, slots=True)
class Choice:
    """An offer in its slot, with the exact chance with which the system selected it there."""

    offer: Offer
    rank: int
    factors: Factors
    probability: float
    prior: float


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen, and from what: the numbers and priors of all candidates that remained."""

    choices: tuple[Choice, ...]
    candidates: IntArray
    priors: NDArray[np.float32]


def in_control_group(customer_id: str, placement: Placement) -> bool:
    """Whether a customer belongs to the placement's control group: a sticky share, by hash."""
    salt = placement.experiment_salt or placement.placement_id
    digest = blake2b(f"{salt}/{customer_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < placement.control_share * 2.0**64


def allowed(
    view: PlacementView, profile: Profile, history: Sequence[Contact] | None, now_ms: int
) -> BoolArray:
    """Which offers of the view may be chosen: inside their dates, with consent, within their contact limits.

    ``history`` is ``None`` when it cannot be read: limited offers are then withheld, unless the placement
    says otherwise. Returns a fresh array of shape ``(n,)``.
    """
    mask = view.live(now_ms)
    for purpose, rows in view.consents.items():
        if not profile.customer.consents_to(purpose, view.placement.channel):
            mask &= ~rows
    for row in view.limited:
        if history is None:
            mask[row] &= view.placement.without_history == "allow"
        elif mask[row]:
            mask[row] = within_limits(view.offers[row], history, now_ms)
    return mask


def select(
    view: PlacementView,
    available: BoolArray,
    priors: NDArray[np.float32],
    policy: Policy,
    prepared: Any,
    slots: int,
    decision_id: str,
) -> Selection:
    """Score what is available, and draw the slots with a generator that is seeded by the decision id.

    ``available`` and ``priors``: shape ``(n,)``, parallel to ``view.offers``.
    """
    candidates = Candidates(view.numbers, priors, view.value)
    if not available.any():
        return Selection((), view.numbers[:0], priors[:0])
    drawn = draw_slots(policy.selector(prepared, candidates), available, slots, decision_id)
    propensities = policy.propensities(prepared, candidates)
    choices = tuple(
        Choice(
            offer=view.offers[row],
            rank=rank,
            factors=Factors(float(propensities[row]), 1.0, float(view.value[row]), 1.0),
            probability=probability,
            prior=float(priors[row]),
        )
        for rank, (row, probability) in enumerate(drawn, start=1)
    )
    if available.all():
        return Selection(choices, view.numbers, priors)
    return Selection(choices, view.numbers[available], priors[available])
