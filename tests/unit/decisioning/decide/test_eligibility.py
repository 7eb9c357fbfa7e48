"""The pipeline of eligibility: its order, and which stages hold for whom. Masks against reasons: test_explanation."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from decisioning.decide.eligibility import STAGES, allowed, eligible_defaults, stops_of
from decisioning.holdouts.holdout import Holdout
from decisioning.model.decision import Contact
from decisioning.model.entities import ContactLimit, GoalDemands, Group, Rule
from decisioning.model.stop import StageName
from profiles.customer import Suppression
from tests.support.shop import NOW_MS, catalogue_with, inputs_of, offer

ADULTS = Rule("adults", "eligibility", "customer.age > 17")
LEAVING = Rule("leaving", "applicability", "context.reason == 'cancel'")
RICH = Rule("rich", "suitability", "offer.margin > 1.0")
LIMIT = ContactLimit(1, 3600)


def left(mask: Any, inputs: Any) -> list[str]:
    """The ids of the offers that a mask leaves."""
    return [o.offer_id for o, kept in zip(inputs.view.offers, mask, strict=True) if kept]


def test_stages_are_in_the_order_of_the_path() -> None:
    names = [stage.name for stage in STAGES]
    assert names == [
        *("dates", "holdout", "placement", "eligibility", "applicability", "suitability"),
        *("consent", "signal", "contact", "capacity"),
    ]
    assert set(names) <= set(get_args(StageName))


def test_every_stage_can_stop_an_offer_alone_and_says_so() -> None:
    offers = [
        offer(1),
        offer(2, starts_ms=NOW_MS + 1),
        offer(3, rules=(ADULTS,)),
        offer(4, rules=(LEAVING,)),
        offer(5, rules=(RICH,), attributes={"margin": 0.5}),
        offer(6, requires_consent="marketing"),
        offer(7, contact_limits=(LIMIT,)),
        offer(8),
    ]
    contacts = [Contact(7, NOW_MS - 1000, "cards", "grow", "d", "web")]
    inputs = inputs_of(catalogue_with(offers), history=contacts, exhausted=frozenset({8}))
    assert left(allowed(inputs), inputs) == ["o1"]
    stopped_by = {
        o.offer_id: [stop.stage for stop in stops_of(inputs, row)] for row, o in enumerate(inputs.view.offers)
    }
    assert stopped_by == {
        "o1": [],
        "o2": ["dates"],
        "o3": ["eligibility"],
        "o4": ["applicability"],
        "o5": ["suitability"],
        "o6": ["consent"],
        "o7": ["contact"],
        "o8": ["capacity"],
    }


def test_what_a_group_and_a_goal_demand_holds_for_each_of_their_offers_and_says_whose_it_is() -> None:
    """Promised: rules, consent and contact limits stand on groups and goals, and are shown as inherited."""
    group = Group(
        "cards", "Cards", "grow", requires_consent="cards", contact_limits=(LIMIT,), rules=(ADULTS,)
    )
    goal = GoalDemands("grow", requires_consent="mail", legal_basis="contract", rules=(RICH,))
    own = offer(1, requires_consent="own", attributes={"margin": 0.5}, rules=(LEAVING,))
    shop = catalogue_with(
        [own, offer(2, group="loans")],
        groups={"cards": group, "loans": Group("loans", "Loans", "retain")},
        goals={"grow": goal},
    )
    contacts = [Contact(1, NOW_MS - 1000, "cards", "grow", "d", "web")]
    inputs = inputs_of(shop, history=contacts, consents={"mail": ("!*",)})
    assert left(allowed(inputs), inputs) == ["o2"]
    assert [(stop.stage, stop.name, stop.inherited_from) for stop in stops_of(inputs, 0)] == [
        ("eligibility", "adults", "group cards"),
        ("applicability", "leaving", None),
        ("suitability", "rich", "goal grow"),
        ("consent", "own", None),
        ("consent", "cards", "group cards"),
        ("consent", "mail", "goal grow"),
        ("contact", "contact limit", "group cards"),
    ]
    assert left(eligible_defaults(inputs), inputs) == ["o2"]

    fits: dict[str, Any] = {
        "customer": {"age": 40},
        "consents": {"own": ("web",), "cards": ("*",)},
        "context": {"reason": "cancel"},
    }
    good = catalogue_with(
        [replace(own, attributes={"margin": 2.0})], groups={"cards": group}, goals={"grow": goal}
    )
    for purpose in ("own", "cards"):
        without = fits | {"consents": {p: c for p, c in fits["consents"].items() if p != purpose}}
        assert not allowed(inputs_of(good, **without)).any()
    assert allowed(inputs_of(good, **fits)).all()
    assert not eligible_defaults(inputs_of(good, **fits)).any()  # its limit would have to be kept


def test_an_offer_that_binds_is_stopped_by_a_list_where_its_group_needs_consent() -> None:
    binding = offer(1, transactional=True, requires_consent="s", legal_basis="contract")
    listed = (Suppression("robinson", "asked for it", None, 0),)
    for group, kept in (
        (Group("cards", "", "grow"), True),
        (Group("cards", "", "grow", requires_consent="m"), False),
    ):
        inputs = inputs_of(catalogue_with([binding], groups={"cards": group}), consents={"m": ("*",)})
        person = replace(inputs.profile.customer, suppressions=listed)
        inputs = replace(inputs, profile=replace(inputs.profile, customer=person))
        assert bool(allowed(inputs)[0]) is kept
        assert ([stop.stage for stop in stops_of(inputs, 0)] == []) is kept


def test_a_placement_whose_condition_does_not_hold_offers_nothing() -> None:
    shop = catalogue_with([offer(1), offer(2)], {"when": "context.reason == 'cancel'"})
    assert not allowed(inputs_of(shop)).any()
    assert allowed(inputs_of(shop, context={"reason": "cancel"})).all()


def test_only_the_first_tier_counts_for_the_control_group_of_that_name() -> None:
    offers = [offer(1, rules=(ADULTS,)), offer(2, rules=(LEAVING,)), offer(3, rules=(RICH,))]
    inputs = inputs_of(catalogue_with(offers), eligibility_only=True)
    assert left(allowed(inputs), inputs) == ["o2", "o3"]
    assert [stops_of(inputs, row) == [] for row in range(3)] == [False, True, True]


def test_defaults_need_eligibility_consent_and_no_limit_but_neither_fit_nor_a_placement() -> None:
    offers = [
        offer(1, rules=(LEAVING, RICH)),
        offer(2, rules=(ADULTS,)),
        offer(3, requires_consent="marketing"),
        offer(4, contact_limits=(LIMIT,)),
        offer(5, ends_ms=NOW_MS),
        offer(6),
    ]
    shop = catalogue_with(offers, {"when": "context.reason == 'cancel'"})
    inputs = inputs_of(shop, exhausted=frozenset({6}))
    assert left(eligible_defaults(inputs), inputs) == ["o1"]
    assert not allowed(inputs).any()


def test_conditions_of_an_offer_itself_are_evaluated_only_while_it_is_in() -> None:
    offers = [offer(1, rules=(ADULTS, RICH)), offer(2, rules=(RICH,))]
    inputs = inputs_of(
        catalogue_with(offers)
    )  # no margin: a condition that is looked at counts it as missing
    assert not allowed(inputs).any()
    assert inputs.evaluation.missing["margin"] + inputs.evaluation.missing[RICH.when] == 1


@pytest.mark.parametrize("tier", ["eligibility", "applicability", "suitability"])
def test_a_condition_in_several_offers_and_tiers_stops_each_of_them(tier: Any) -> None:
    when = "customer.age > 17"
    offers = [offer(1, rules=(Rule("a", tier, when),)), offer(2, rules=(ADULTS,)), offer(3)]
    young, old = (inputs_of(catalogue_with(offers), customer={"age": age}) for age in (12, 40))
    assert left(allowed(young), young) == ["o3"]
    assert np.array_equal(allowed(old), [True, True, True])


def test_who_is_held_out_gets_nothing_that_is_not_exempt_not_even_mandatory_offers_and_defaults() -> None:
    offers = [offer(1, mandatory=True), offer(2), offer(3, group="loans"), offer(4, group="notices")]
    groups = {
        "cards": Group("cards", "Cards", "grow"),
        "loans": Group("loans", "Loans", "retain"),
        "notices": Group("notices", "Notices", "serve"),
    }
    holdouts = {
        "all": Holdout("all", 0.5, exempt_goals=("serve",), ends_ms=NOW_MS + 1),
        "growth": Holdout("growth", 0.5, goal="grow"),
        "cards": Holdout("cards", 0.5, goal="grow", exempt_groups=("cards",)),
    }
    inputs = inputs_of(
        catalogue_with(offers, {"default_offers": ("o1", "o4")}, groups=groups, holdouts=holdouts)
    )
    for held_out, kept in (
        ((), ["o1", "o2", "o3", "o4"]),
        (("all",), ["o4"]),
        (("growth",), ["o3", "o4"]),
        (("cards",), ["o1", "o2", "o3", "o4"]),
        (("all", "growth"), ["o4"]),
    ):
        held = replace(inputs, holdouts=held_out)
        assert left(allowed(held), held) == left(eligible_defaults(held), held) == kept
        assert [not stops_of(held, row) for row in range(4)] == [o in kept for o in ("o1", "o2", "o3", "o4")]
    stops = stops_of(replace(inputs, holdouts=("all", "growth")), 0)
    assert [(stop.stage, stop.name, stop.allowed_again_ms) for stop in stops] == [
        ("holdout", "all", NOW_MS + 1),
        ("holdout", "growth", None),
    ]
