"""A small catalogue of the web without stores, and one request at it as the service would see it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.eligibility import EligibilityInputs, allowed
from decisioning.decide.facts import facts_of, history_facts
from decisioning.decide.ranking import SelectionContext, weigh
from decisioning.model.decision import Contact
from decisioning.model.deployment import Deployment
from decisioning.model.entities import Group, Offer, Placement, Treatment
from profiles.customer import Customer, Profile
from rules.evaluation import evaluate
from rules.vocabulary import Attribute
from storage.clock import to_datetime

NOW_MS = 1_790_000_000_000
WEB = (Treatment("t", "web", "en", "Title", ""),)
ATTRIBUTES = {
    "customer.age": Attribute("customer.age", "int"),
    "customer.city": Attribute("customer.city", "string"),
    "context.reason": Attribute("context.reason", "string"),
    "offer.margin": Attribute("offer.margin", "number"),
}


def offer(number: int, **fields: Any) -> Offer:
    """A live offer of the web, worth its number."""
    parts: dict[str, Any] = {
        "offer_id": f"o{number}",
        "number": number,
        "name": "Offer",
        "group": "cards",
        "value": float(number),
        "treatments": WEB,
    }
    return Offer(**(parts | fields))


def catalogue_with(
    offers: Sequence[Offer], placement: Mapping[str, Any] | None = None, **fields: Any
) -> Catalogue:
    """A catalogue with these offers and the placement ``home``."""
    parts: dict[str, Any] = {
        "version": 1,
        "groups": {"cards": Group("cards", "Cards", "grow"), "loans": Group("loans", "Loans", "retain")},
        "offers": {o.offer_id: o for o in offers},
        "placements": {"home": Placement("home", "web", **(placement or {}))},
        "attributes": ATTRIBUTES,
    }
    return Catalogue(**(parts | fields))


def view_of(placement: Placement, deployment: Deployment | None = None) -> PlacementView:
    """The view of a placement without offers."""
    placement_id = placement.placement_id
    deployments = {} if deployment is None else {placement_id: deployment}
    return Catalogue(1, placements={placement_id: placement}, deployments=deployments).view(placement_id)


def inputs_of(
    catalogue: Catalogue,
    *,
    customer: Mapping[str, Any] | None = None,
    consents: Mapping[str, tuple[str, ...]] | None = None,
    context: Mapping[str, Any] | None = None,
    history: Sequence[Contact] | None = (),
    exhausted: frozenset[int] = frozenset(),
    eligibility_only: bool = False,
) -> EligibilityInputs:
    """The inputs of eligibility for one request of a customer, who has a propensity of 0.1 for every offer."""
    view = catalogue.view("home")
    person = Customer("c", dict(customer or {}), {}, (), {}, dict(consents or {}))
    facts = facts_of(person, context or {}, view.placement)
    own = history_facts(view, (), catalogue.numbers, history, NOW_MS)
    evaluation = evaluate(view.plan, {**facts, **own}, to_datetime(NOW_MS))
    profile = Profile(person, view.numbers, np.full(len(view.numbers), 0.1, np.float32))
    return EligibilityInputs(
        catalogue, view, profile, history, evaluation, exhausted, NOW_MS, eligibility_only
    )


def selection_context_of(inputs: EligibilityInputs, **fields: Any) -> SelectionContext:
    """The selection that follows from the inputs of eligibility."""
    view = inputs.view
    parts: dict[str, Any] = {
        "view": view,
        "available": allowed(inputs),
        "base_propensities": inputs.profile.dense(view.numbers),
        "weights": weigh(view, inputs.evaluation),
        "now_ms": inputs.now_ms,
        "slots": view.placement.slots,
        "decision_id": "d",
    }
    return SelectionContext(**(parts | fields))
