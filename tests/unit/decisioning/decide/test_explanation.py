"""The explanation and the engine must say the same of every offer, selected or not."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bandits.registry import BUILT_IN, build_policy
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.kinds import ContextWeight, Override, Segment
from decisioning.decide.eligibility import EligibilityInputs, allowed, stops_of
from decisioning.decide.explanation import Situation, explain
from decisioning.decide.facts import facts_of
from decisioning.decide.ranking import SelectionContext, select, weigh
from decisioning.model.decision import Contact
from decisioning.model.entities import (
    AfterRejection,
    ContactLimit,
    ContactPolicy,
    GoalDemands,
    Group,
    NotAfter,
    Placement,
    Rule,
)
from decisioning.model.weights import Weights
from profiles.customer import Customer, Profile
from rules.evaluation import evaluate
from storage.clock import to_datetime
from tests.support.bandits_selection import arms
from tests.support.shop import ATTRIBUTES, NOW_MS, offer

THOMPSON = build_policy(BUILT_IN[0])
GIFTS = Group(
    "gifts",
    "Gifts",
    "serve",
    requires_consent="marketing",
    contact_limits=(ContactLimit(1, 1800),),
    rules=(Rule("not too old", "applicability", "customer.age < 80"),),
)
GROUPS = {
    "cards": Group("cards", "Cards", "grow", lever=10.0),
    "loans": Group("loans", "Loans", "retain"),
    "gifts": GIFTS,
}
GOALS = {"serve": GoalDemands("serve", rules=(Rule("calm", "suitability", "context.reason != 'cancel'"),))}

OFFERS = [
    offer(1),
    offer(2, requires_consent="marketing"),
    offer(3, rules=(Rule("adults", "eligibility", "customer.age > 17"),)),
    offer(
        4,
        rules=(
            Rule("leaving", "applicability", "context.reason == 'cancel'"),
            Rule("vip", "suitability", "segment.old"),
        ),
    ),
    offer(5, group="loans", contact_limits=(ContactLimit(1, 3600),)),
    offer(6, starts_ms=NOW_MS + 1000),
    offer(7, ends_ms=NOW_MS),
    offer(8, status="paused"),
    offer(9, treatments=()),
    offer(10, group="loans", not_after=(NotAfter(3600, offer="o1"),)),
    offer(11, rules=(Rule("pays", "suitability", "offer.margin > 1.0"),), attributes={"margin": 2.0}),
    offer(12, rules=(Rule("pays", "suitability", "offer.margin > 1.0"),), attributes={"margin": 0.5}),
    offer(13, after_rejection=(AfterRejection(3600, "group"),)),
    offer(14, requires_consent="service", legal_basis="legitimate_interest"),
    offer(15, min_propensity=0.5),
    offer(17, group="gifts", requires_consent="service", legal_basis="legal_obligation"),
    offer(16, value_expression="offer.margin * 2.0", attributes={"margin": 3.0}),
]


def catalogue(placement: Mapping[str, Any], **fields: Any) -> Catalogue:
    """All of the offers above, and whatever else is given."""
    parts: dict[str, Any] = {
        "version": 1,
        "groups": GROUPS,
        "offers": {o.offer_id: o for o in OFFERS},
        "placements": {"home": Placement("home", "web", **placement)},
        "goals": GOALS,
        "attributes": ATTRIBUTES,
        "segments": {"old": Segment("old", "customer.age > 65")},
        "contact_policies": {"gap": ContactPolicy("gap", "gap", 1, 60, scope="group", applies_to="loans")},
        "context_weights": {
            "stay": ContextWeight("stay", "context.reason == 'cancel'", 100.0, goal="retain")
        },
    }
    return Catalogue(**(parts | fields))


def situation(
    shop: Catalogue,
    attributes: Mapping[str, Any],
    consents: Mapping[str, tuple[str, ...]],
    context: Mapping[str, Any],
    history: list[Contact] | None,
    exhausted: frozenset[int] = frozenset(),
    decision_id: str = "d",
) -> tuple[Situation, Any]:
    """A decision as the service makes it, without its stores; and the mask of what was available."""
    view = shop.view("home")
    customer = Customer("c", dict(attributes), {}, (), {}, dict(consents))
    evaluation = evaluate(view.plan, facts_of(customer, context, view.placement), to_datetime(NOW_MS))
    profile = Profile(customer, view.numbers, np.full(len(view.numbers), 0.1, np.float32))
    weights: Weights = weigh(view, evaluation)
    inputs = EligibilityInputs(shop, view, profile, history, evaluation, exhausted, NOW_MS)
    available = allowed(inputs)
    prepared = THOMPSON.prepare(arms(view.numbers, np.zeros((len(view.numbers), THOMPSON.width))))
    selection_context = SelectionContext(
        view, available, profile.propensities, weights, NOW_MS, view.placement.slots, decision_id
    )
    selection = select(selection_context, THOMPSON, prepared)
    assert selection.propensities is not None
    return (
        Situation(inputs, weights, selection.propensities.tolist(), selection),
        available,
    )


contacts = st.lists(
    st.builds(
        Contact,
        offer=st.sampled_from([1, 5, 10, 13, 17]),
        at_ms=st.integers(NOW_MS - 7_200_000, NOW_MS),
        group=st.sampled_from(["cards", "loans"]),
        goal=st.sampled_from(["grow", "retain"]),
        kind=st.sampled_from(["d", "a", "r", "p"]),
        channel=st.just("web"),
    ),
    max_size=5,
).map(lambda found: sorted(found, key=lambda contact: contact.at_ms))


@given(
    age=st.none() | st.integers(10, 90),
    marketing=st.sampled_from([None, (), ("web",), ("*",), ("mail",), ("*", "!web"), ("!*", "web")]),
    service=st.sampled_from([None, (), ("web",), ("!web",), ("!*",), ("!mail",), ("!*", "web")]),
    reason=st.sampled_from([None, "cancel", "browse"]),
    history=st.none() | contacts,
    exhausted=st.frozensets(st.sampled_from([1, 2, 5]), max_size=2),
    when=st.sampled_from([None, "context.reason == 'cancel'"]),
    without=st.sampled_from(["withhold", "allow"]),
)
def test_an_offer_has_stops_exactly_if_the_engine_keeps_it_out(
    age: int | None,
    marketing: tuple[str, ...] | None,
    service: tuple[str, ...] | None,
    reason: str | None,
    history: list[Contact] | None,
    exhausted: frozenset[int],
    when: str | None,
    without: str,
) -> None:
    shop = catalogue({"when": when, "without_history": without, "slots": 3})
    found, available = situation(
        shop,
        {} if age is None else {"age": age},
        {k: v for k, v in (("marketing", marketing), ("service", service)) if v is not None},
        {} if reason is None else {"reason": reason},
        history,
        exhausted,
    )
    left = set(found.selection.candidates.tolist())
    for row, one in enumerate(found.inputs.view.offers):
        assert (not stops_of(found.inputs, row)) == available[row]
        assert available[row] or one.number not in left
    explained = explain(found)
    assert {e["offer_id"] for e in explained} == set(shop.offers)
    ready = [e["offer_id"] for e in explained if e["result"] != "stopped"]
    assert {shop.offers[o].number for o in ready} == left
    chosen = [(e["offer_id"], e["rank"]) for e in explained if e["result"] == "chosen"]
    assert chosen == [(c.offer.offer_id, c.rank) for c in found.selection.choices]


def test_stops_name_what_was_observed_and_what_was_required() -> None:
    found, _ = situation(
        catalogue({}),
        {"age": 12},
        {"marketing": ("mail",)},
        {},
        [Contact(5, NOW_MS - 1000, "loans", "retain")],
    )
    explained = {e["offer_id"]: e for e in explain(found)}
    first = {name: e["stops"][0] for name, e in explained.items() if e["result"] == "stopped"}
    assert first["o2"] | {"allowed_again_ms": 0} == {
        "stage": "consent",
        "name": "marketing",
        "observed": ["mail"],
        "required": "web",
        "allowed_again_ms": 0,
        "inherited_from": None,
    }
    assert first["o3"]["stage"] == "eligibility"
    assert first["o3"]["name"] == "adults"
    assert first["o3"]["observed"] == {"customer.age": 12}
    assert first["o3"]["required"] == "customer.age > 17"
    assert [s["name"] for s in explained["o4"]["stops"]] == ["leaving", "vip"]
    assert explained["o4"]["stops"][0]["observed"] == {"context.reason": None}
    assert first["o6"]["allowed_again_ms"] == NOW_MS + 1000
    assert (first["o6"]["name"], first["o7"]["name"]) == ("not yet", "over")
    assert first["o8"]["stage"] == "status"
    assert first["o9"]["stage"] == "channel"
    again = {s["name"]: s["allowed_again_ms"] for s in explained["o5"]["stops"]}
    assert again == {"gap": NOW_MS - 1000 + 60_000, "contact limit": NOW_MS - 1000 + 3_600_000}
    assert first["o12"]["observed"] == {"offer.margin": 0.5}
    assert first["o15"]["stage"] == "propensity"


def test_the_change_that_would_have_made_an_offer_first_does_make_it_first() -> None:
    found, _ = situation(catalogue({}), {"age": 40}, {}, {}, [])
    explained = [e for e in explain(found) if e["result"] != "stopped"]
    best = max(e["score"] for e in explained)
    behind = [e for e in explained if e["score"] < best]
    assert behind
    for e in behind:
        for name, needed in e["first_if"].items():
            if needed is None:
                assert name == "P"
                continue
            factors = e["factors"] | {name: needed}
            assert np.isclose(factors["P"] * factors["C"] * factors["V"] * factors["L"], best)


def test_factors_weigh_levers_and_expressions() -> None:
    shop = catalogue({}, goals={"retain": GoalDemands("retain", 20.0)})
    found, _ = situation(shop, {}, {}, {"reason": "cancel"}, [])
    explained = {e["offer_id"]: e for e in explain(found)}
    assert explained["o10"]["factors"]["C"] == 2.0  # the loans are there to retain
    assert explained["o10"]["factors"]["L"] == 1.2
    assert explained["o1"]["factors"]["C"] == 1.0
    assert explained["o1"]["factors"]["L"] == 1.1
    assert explained["o16"]["factors"]["V"] == 6.0


def test_factors_can_be_switched_off() -> None:
    shop = catalogue({"off": ("C", "V", "L", "P")})
    found, _ = situation(shop, {}, {}, {"reason": "cancel"}, [])
    for one in explain(found):
        if one["result"] != "stopped":
            assert one["factors"] == {"P": 1.0, "C": 1.0, "V": 1.0, "L": 1.0}
    probabilities = {c.probability for c in found.selection.choices}
    assert probabilities == {1.0 / len(found.selection.candidates)}


def test_overridden_offers_come_first_and_mandatory_ones_before_them() -> None:
    offers = {o.offer_id: o for o in (offer(1), offer(2), offer(3, mandatory=True), offer(4), offer(5))}
    may = Override("may", "spring", offer="o2", starts_ms=NOW_MS - 1, ends_ms=NOW_MS + 1)
    over = Override("over", "winter", offer="o4", starts_ms=0, ends_ms=NOW_MS)
    shop = catalogue({"slots": 3}, offers=offers, overrides={"may": may, "over": over})
    for i in range(50):
        found, _ = situation(shop, {}, {}, {}, [], decision_id=f"d{i}")
        first, second, third = found.selection.choices
        assert (first.offer.offer_id, first.probability) == ("o3", 1.0)
        assert (second.offer.offer_id, second.probability) == ("o2", 1.0)
        assert third.offer.offer_id in ("o1", "o4", "o5")
        assert 0 < third.probability < 1


def test_diversity_and_exclusions_hold_over_slots() -> None:
    offers = {
        o.offer_id: o
        for o in (
            offer(1, not_with=("o2",)),
            offer(2),
            offer(3),
            offer(4, group="loans"),
            offer(5, group="loans"),
        )
    }
    shop = catalogue({"slots": 5, "max_per_group": 2}, offers=offers, contact_policies={})
    seen = set()
    for i in range(200):
        found, _ = situation(shop, {}, {}, {}, [], decision_id=f"d{i}")
        names = [c.offer.offer_id for c in found.selection.choices]
        seen |= set(names)
        assert not {"o1", "o2"} <= set(names)
        assert sum(shop.offers[n].group == "cards" for n in names) == 2
        assert len(names) == len(set(names)) == 4
    assert seen == set(offers)


def test_ties_are_broken_as_the_placement_says() -> None:
    offers = {o.offer_id: o for o in (offer(1, value=5.0), offer(2, value=7.0), offer(3, value=5.0))}
    orders = {
        how: [o.offer_id for o in catalogue({"tie_break": how}, offers=offers).view("home").offers]
        for how in ("oldest", "newest", "value")
    }
    assert orders == {"oldest": ["o1", "o2", "o3"], "newest": ["o3", "o2", "o1"], "value": ["o2", "o1", "o3"]}
