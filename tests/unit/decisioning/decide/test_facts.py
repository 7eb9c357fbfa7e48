"""Facts of a request, and the cache of rule results that depend on the customer alone."""

from dataclasses import replace
from typing import Any

from decisioning.decide.facts import MAX_ASKED_BYTES, RuleResultCache, facts_of, facts_to_log, offer_facts
from decisioning.model.entities import Placement, Rule
from profiles.customer import Customer, Profile
from rules.evaluation import Facts
from tests.support.shop import NOW_MS, catalogue_with, inputs_of, offer

ADULTS = Rule("adults", "eligibility", "customer.age > 17")
SHOP = catalogue_with([offer(1, rules=(ADULTS,)), offer(2, attributes={"margin": 2.0})])
VIEW = SHOP.view("home")


def evaluate(cache: RuleResultCache, age: int, fingerprint: int = 1, **fields: Any) -> bool:
    """True if the rule of the first offer holds for a customer of an age."""
    profile = inputs_of(SHOP, customer={"age": age}).profile
    profile = Profile(
        replace(profile.customer, customer_id=fields.pop("customer_id", "c")),
        profile.offer_nos,
        profile.propensities,
        fingerprint,
    )
    facts = facts_of(profile.customer, {}, VIEW.placement)
    arguments: dict[str, Any] = {"version": 1, "explain": False} | fields
    evaluation = cache.evaluate(
        arguments["version"], VIEW, profile, facts, NOW_MS, explain=arguments["explain"]
    )
    return evaluation.holds(SHOP.checker.check(ADULTS.when))


def test_indicators_hide_attributes_and_the_context_knows_its_placement() -> None:
    customer = Customer("c", {"age": 1, "city": "a"}, {"age": 2.0}, ("card",), {"sport": 0.5}, {})
    facts = facts_of(customer, {"channel": "forged", "reason": "x"}, Placement("home", "web"))
    assert facts["customer"] == {
        "age": 2.0,
        "city": "a",
        "interests": {"sport": 0.5},
        "holdings": ("card",),
        "customer_id": "c",
        "known": True,
    }
    assert facts["context"] == {"reason": "x", "channel": "web", "placement": "home"}


def test_the_fields_of_an_offer_hide_its_attributes() -> None:
    shop = catalogue_with([offer(1, attributes={"margin": 2.0, "value": 9.0})])
    assert offer_facts(shop.view("home"), 0) == {
        "margin": 2.0,
        "value": 1.0,
        "offer_id": "o1",
        "group": "cards",
        "goal": "grow",
    }


def test_results_last_as_long_as_the_profile_and_the_catalogue() -> None:
    cache = RuleResultCache()
    assert evaluate(cache, 40)
    assert evaluate(cache, 12)  # the checksum says that it is the same profile
    assert not evaluate(cache, 12, fingerprint=2)
    assert not evaluate(cache, 12, version=2)
    assert not evaluate(cache, 12, customer_id="other")


def test_what_has_no_checksum_or_is_to_be_explained_is_evaluated_anew() -> None:
    cache = RuleResultCache()
    assert evaluate(cache, 40, fingerprint=0)
    assert not evaluate(cache, 12, fingerprint=0)
    assert evaluate(cache, 40)
    assert not evaluate(cache, 12, explain=True)


def test_the_customers_seen_longest_ago_are_forgotten_first() -> None:
    cache = RuleResultCache(max_customers=2)
    for customer_id in ("a", "b", "a", "c"):
        assert evaluate(cache, 40, customer_id=customer_id)
    assert evaluate(cache, 12, customer_id="a")  # used after b, so b made room for c
    assert not evaluate(cache, 12, customer_id="b")


def test_facts_that_a_placement_asks_for_are_logged_beside_those_learned_from() -> None:
    facts: Facts = {"customer": {"age": 40, "tenure": 7.5}, "context": {"reason": "moving"}}
    asked = ("customer.tenure", "context.reason", "customer.nobody", "customer.age")
    assert facts_to_log(facts, ["customer.age"], ()) == {"customer.age": 40}
    assert facts_to_log(facts, ["customer.age"], asked) == {
        "customer.age": 40,
        "customer.tenure": 7.5,
        "context.reason": "moving",
    }


def test_a_fact_asked_for_that_is_too_large_is_left_out_and_smaller_ones_follow() -> None:
    many = [f"topic {i:02} {'x' * 180}" for i in range(64)]
    facts = {"customer": {"many": many, "city": "Lugo"}, "context": {}}
    assert facts_to_log(facts, (), ("customer.many", "customer.city")) == {"customer.city": "Lugo"}
    learned = facts_to_log(facts, ("customer.many",), ("customer.city",))
    assert learned.keys() == {"customer.many", "customer.city"}
    assert MAX_ASKED_BYTES == 4096
