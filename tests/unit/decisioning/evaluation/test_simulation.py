"""Simulations on a small catalogue: counts of the funnel, and differences between pairs of answers."""

from typing import Any

import numpy as np
import pytest

from decisioning.catalog.catalogue import Catalogue
from decisioning.errors import NotFound
from decisioning.evaluation.simulation import Subject, simulate
from decisioning.model.deployment import ControlGroup, Deployment
from decisioning.model.entities import Rule
from decisioning.policies.roster import Roster
from profiles.customer import Customer, Profile
from tests.support.shop import NOW_MS, catalogue_with, offer

ROSTER = Roster()
ADULT = Rule("adult", "suitability", "customer.age >= 18")
CHOICE: dict[str, Any] = {"policy": "propensity", "control_share": 0.0}


def subjects(*ages: int) -> list[Subject]:
    """Customers ``c0``, ``c1``, ... with a propensity of 0.5 for offer 1 and of 0.25 for offer 2."""
    made = [Customer(f"c{i}", {"age": age}, {}, (), {}, {}) for i, age in enumerate(ages)]
    known = np.array([1, 2], np.uint32), np.array([0.5, 0.25], np.float32)
    return [Subject(Profile(customer, *known), ()) for customer in made]


def simulated(live: Catalogue, changed: Catalogue, sample: list[Subject]) -> dict[str, Any]:
    """Simulate the placement of the catalogues, without experience."""
    return simulate(live, changed, "home", sample, ROSTER, {}, {}, NOW_MS)


def test_the_funnel_counts_candidates_left_after_each_stage() -> None:
    offers = [
        offer(1, rules=(ADULT,)),
        offer(2, min_propensity=0.3),
        offer(3, requires_consent="ads"),
        offer(4, starts_ms=NOW_MS + 1),
    ]
    live = catalogue_with(offers, CHOICE)
    found = simulated(live, live, subjects(17, 18))
    # Offer 4 is not live yet, 1 is not for the younger, 3 lacks consent, and 2 is below its minimum.
    assert found["live"]["funnel"] == {
        **dict.fromkeys(("live", "holdout", "placement", "eligibility", "applicability"), 6),
        **{"suitability": 5, "consent": 3, "contact": 3, "propensity": 1, "chosen": 1},
    }
    without = [found["live"][f"without_offer{kind}"] for kind in ("", "_share", "_examples")]
    assert [*without, found["live"]["expected_value"]] == [1, 0.5, ["c0"], 0.5]


def test_an_answer_differs_by_its_order_even_if_all_counts_are_equal() -> None:
    live = catalogue_with([offer(1), offer(2, value=1.0)], CHOICE | {"slots": 2})
    changed = catalogue_with([offer(1), offer(2, value=10.0)], CHOICE | {"slots": 2})
    found = simulated(live, changed, subjects(20, 30, 40))
    assert [list(offer.values()) for offer in found["offers"]] == [["o1", 3, 3, 0], ["o2", 3, 3, 0]]
    assert found["customers_with_another_answer"] == 3
    assert (found["live"]["expected_value"], found["changed"]["expected_value"]) == (2.25, 9.0)


def test_differences_are_paired_by_customer_and_name_offers_of_either_side() -> None:
    live = catalogue_with([offer(1, rules=(ADULT,))], CHOICE)
    changed = catalogue_with([offer(2)], CHOICE)
    found = simulated(live, changed, subjects(17, 18, 19))
    assert [list(offer.values()) for offer in found["offers"]] == [["o1", 2, 0, -2], ["o2", 0, 3, 3]]
    assert found["customers_with_another_answer"] == 3
    only_one = simulated(live, catalogue_with([offer(1)], CHOICE), subjects(17, 18, 19))
    assert only_one["customers_with_another_answer"] == 1


def test_groups_decide_as_they_would_and_a_missing_policy_falls_back() -> None:
    rules_off = Deployment("home", "gone@7", controls=(ControlGroup("eligibility_only", 1.0),))
    live = catalogue_with([offer(1, rules=(ADULT,)), offer(2)], CHOICE | {"fallback_policy": "propensity"})
    changed = catalogue_with([offer(1, rules=(ADULT,)), offer(2)], CHOICE, deployments={"home": rules_off})
    found = simulated(live, changed, subjects(17))
    assert found["live"]["funnel"]["suitability"] == 1
    assert found["changed"]["funnel"]["suitability"] == 2
    assert found["changed"]["without_offer"] == 0


def test_a_sample_of_nobody_and_a_placement_that_is_not_there() -> None:
    live = catalogue_with([offer(1)])
    assert simulated(live, live, [])["live"]["without_offer_share"] == 0.0
    with pytest.raises(NotFound):
        simulated(live, Catalogue(1), subjects(18))
