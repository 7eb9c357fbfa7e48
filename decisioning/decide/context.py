"""A request for a decision, and the values that the steps of the path hand on, in their order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bandits.policy import BoolArray, Facts
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.eligibility import EligibilityInputs
from decisioning.decide.policy_runner import Assignment, PolicyResult
from decisioning.decide.ranking import Units
from decisioning.decide.told import NOTHING_TOLD, Told
from decisioning.log.ports import DecideReply
from decisioning.model.decision import Contact, Decision
from decisioning.model.degraded import DegradedReason
from profiles.customer import Profile
from rules.evaluation import Evaluation


class MovedCustomer(Exception):
    """The one who is to be decided for is an alias: what is asked is asked of ``customer_id``."""

    def __init__(self, customer_id: str) -> None:
        super().__init__(customer_id)
        self.customer_id = customer_id


@dataclass(frozen=True, slots=True)
class DecisionInputs:
    """A validated request. ``decision_id`` is the caller's own id, if any; ``baseline`` its own choice of offers.

    ``public``: texts show nothing of the customer but what is classified as public.
    """

    customer_id: str
    placement: str
    context: Mapping[str, Any]
    limit: int | None = None
    decision_id: str | None = None
    deadline_ms: int | None = None
    dry_run: bool = False
    explain: bool = False
    baseline: tuple[str, ...] | None = None
    public: bool = False


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """One request with its catalogue, time and experiment group; every step of the path is given it.

    ``slots``: the largest number of offers to choose. ``holdouts``: ids of those that the customer is in. ``attempt``:
    tells this request from others with the same id of the caller's own; "" where the id was made here. ``degraded`` is
    the one thing that grows on the way: a deadline may cut the path at any step, and the answer must still tell what
    had been missing by then.
    """

    request: DecisionInputs
    catalogue: Catalogue
    view: PlacementView
    decision_id: str
    now_ms: int
    assignment: Assignment
    slots: int
    holdouts: tuple[str, ...] = ()
    attempt: str = ""
    degraded: list[DegradedReason] = field(default_factory=list)

    def degrade(self, reason: DegradedReason) -> None:
        """Note a reason why the answer is not what it should be, once."""
        if reason not in self.degraded:
            self.degraded.append(reason)


@dataclass(frozen=True, slots=True)
class EvaluatedRequest:
    """A request whose rules have been evaluated. ``facts``: what policies learn from, by path.

    ``told``: what the customer's events tell.
    """

    facts: Facts
    evaluation: Evaluation
    told: Told = NOTHING_TOLD


@dataclass(frozen=True, slots=True)
class CustomerState:
    """The customer as a decision sees them. ``history``: contacts by time, ``None`` if they cannot be read.

    ``household``: the same of the customer's household, as far as there are limits on it.
    """

    profile: Profile
    history: Sequence[Contact] | None
    household: Sequence[Contact] | None = ()


@dataclass(frozen=True, slots=True)
class EligibleOffers:
    """One decision as far as it does not depend on the policy: what rules said, and the rows that may be chosen."""

    evaluated: EvaluatedRequest
    inputs: EligibilityInputs
    available: BoolArray


@dataclass(frozen=True, slots=True)
class Selected:
    """The selection of a policy from the eligible offers, and the record of that."""

    eligible: EligibleOffers
    result: PolicyResult
    record: Decision


@dataclass(frozen=True, slots=True)
class Decided:
    """The record that is answered; ``selected``: where it comes from, if it was made now and by a policy."""

    record: Decision
    selected: Selected | None = None


def without_capacity(eligible: EligibleOffers, row: int) -> EligibleOffers:
    """Return the eligible offers without an offer of which no unit of capacity was left."""
    inputs = eligible.inputs
    exhausted = inputs.exhausted | {inputs.view.offers[row].number}
    available = eligible.available.copy()
    available[row] = False
    return replace(eligible, inputs=replace(inputs, exhausted=exhausted), available=available)


def without_units(eligible: EligibleOffers, units: Units) -> EligibleOffers:
    """Return the eligible offers without those of capacities that have no unit left."""
    gone = frozenset(number for left, numbers in units if left < 1 for number in numbers)
    inputs = eligible.inputs
    if gone <= inputs.exhausted:
        return eligible
    available = eligible.available & ~np.isin(inputs.view.numbers, list(gone))
    return replace(eligible, inputs=replace(inputs, exhausted=inputs.exhausted | gone), available=available)


def without_limited(eligible: EligibleOffers, counted: frozenset[int]) -> EligibleOffers:
    """Return the eligible offers without any that may be refused: with limits, or a capacity (``counted``: numbers)."""
    view, customer = eligible.inputs.view, eligible.inputs.profile.customer
    limited = [
        o.number in counted or view.contact.limited(row, customer) for row, o in enumerate(view.offers)
    ]
    return replace(eligible, available=eligible.available & ~np.array(limited, dtype=bool))


def without_refused(eligible: EligibleOffers, reply: DecideReply) -> EligibleOffers:
    """Return the eligible offers without those that Redis refused: limits reached, or limits that it cannot check."""
    view, customer = eligible.inputs.view, eligible.inputs.profile.customer
    refused = [
        offer.offer_id in reply.reached or (reply.lost and view.contact.limited(row, customer))
        for row, offer in enumerate(view.offers)
    ]
    return replace(eligible, available=eligible.available & ~np.array(refused, dtype=bool))
